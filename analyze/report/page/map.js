// The map has three columns; the height of a bar is its number of connections.
const MOST = {client: 14, service: 18, backend: 26};
const GROUPINGS = {workload: c => c.workload ? joined2(c.namespace, c.workload) : c.name || c.address, namespace: c => c.namespace || (c.name ? "no namespace" : "no name"),
  host: c => c.host || "host not known", network: c => c.address.includes(":") ? c.address.split(":").slice(0, 4).join(":") : c.address.replace(/\d+$/, "0/24") || "not known", address: c => c.address || "not known"};
const joined2 = (a, b) => a && b ? a + "/" + b : b;

// grouping is the finest one whose groups fit, when none is asked for.
function grouping(rows) {
  for (const by of ["address", "workload", "namespace", "host", "network"]) {
    const seen = new Set();
    for (const row of rows) { seen.add(GROUPINGS[by](T.clients[T.client[row]])); if (seen.size > MOST.client) break; }
    if (seen.size <= MOST.client && (by === "address" || seen.size > 1)) return by;
  }
  return "workload";
}

// stateOf is the class of a connection to a backend, and the words for it.
function stateOf(service, backend, verdict) {
  const part = (service.spread || []).find(p => p.backend === backend);
  if (part && part.state) return ["bad", part.state];
  return verdict === "proven" || verdict === "observed" ? ["fine", verdict] : ["weak", verdict];
}

function gather(rows, by) {
  const nodes = {client: new Map(), service: new Map(), backend: new Map()}, links = new Map();
  const node = (column, key, label, more) => {
    let n = nodes[column].get(key);
    if (!n) nodes[column].set(key, n = {column, key, label, n: 0, ...more});
    return n;
  };
  const link = (a, b, state, word) => {
    a.n++; // a service counts both of its sides, and is as high as the larger
    const key = a.column + a.key + "\0" + b.key + "\0" + state;
    const l = links.get(key);
    if (l) { l.n++; l.words.add(word); } else links.set(key, {from: a, to: b, state, n: 1, words: new Set([word])});
  };
  for (const row of rows) {
    const c = T.clients[T.client[row]], s = serviceOf(row), end = T.ends[T.end[row]], verdict = verdictOf(row);
    const name = GROUPINGS[by](c), from = node("client", name, by === "address" && c.name ? c.name : name, {sub: by === "address" && c.name ? c.address : "", find: by === "address" ? c.address : by === "network" ? name.replace("0/24", "") : name.split("/").pop()});
    const to = s.direct ? node("service", "\0direct", "no service: dialled directly", {quiet: true, find: "direct"}) : node("service", T.service[row], serviceLabel(s), {sub: joined(s.name ? s.address : "", s.protocol === "tcp" ? "" : s.protocol), service: T.service[row]});
    const settled = end.how === "one" || end.how === "several";
    link(from, to, end.how === "none" ? "none" : settled ? "fine" : "weak", verdict);
    for (const b of settled ? end.backends : [-1]) {
      const [state, word] = b >= 0 ? stateOf(s, b, verdict) : [end.how === "none" ? "none" : "weak", verdict];
      const target = b >= 0 ? node("backend", b, backendLabel(T.backends[b]), {sub: T.backends[b].name ? T.backends[b].address : "", backend: b})
        : node("backend", "\0" + end.how, {none: "nothing serves it", unknown: "not known", candidates: "several candidates", conflict: "in conflict"}[end.how], {quiet: true, verdict: {none: "none", unknown: "unknown", candidates: "candidates", conflict: "conflict"}[end.how]});
      target.n++;
      link(to, target, state, word);
      if (state === "bad") (target.flags = target.flags || new Set()).add(word);
    }
  }
  if (rows.length === T.count) idle(nodes);
  return {nodes, links: [...links.values()]};
}

// idle adds the backends that are expected to have a share and have nothing.
function idle(nodes) {
  for (const n of [...nodes.service.values()]) {
    if (n.service === undefined || n.n < 2) continue;
    for (const p of data.services[n.service].spread) {
      const same = [...nodes.backend.values()].some(b => b.backend !== undefined && T.backends[b.backend].address === p.address);
      if (p.count || !p.share || same || nodes.backend.has(p.address)) continue;
      nodes.backend.set(p.address, {column: "backend", key: p.address, label: p.name || p.address, sub: p.name ? p.address : "", n: 0, idle: p.share, find: p.address});
    }
  }
}

// fold keeps the largest nodes of a column, and those with something wrong.
function fold(map, column) {
  const all = [...map.nodes[column].values()], most = MOST[column];
  all.sort((a, b) => b.n - a.n || (a.label < b.label ? -1 : a.label > b.label ? 1 : 0));
  if (all.length <= most + 1) return all;
  const kept = new Set([...all.filter(n => n.flags || n.quiet).slice(0, most >> 1), ...all].slice(0, most));
  const rest = all.filter(n => !kept.has(n));
  const more = {column, key: "\0more", label: number(rest.length) + " more " + column + "s", n: rest.reduce((sum, n) => sum + n.n, 0), quiet: true};
  const gone = new Set(rest), merged = new Map();
  for (const l of map.links) {
    if (gone.has(l.from)) l.from = more;
    if (gone.has(l.to)) l.to = more;
    const key = l.from.column + l.from.key + "\0" + l.to.key + "\0" + l.state, old = merged.get(key);
    if (old) { old.n += l.n; l.words.forEach(w => old.words.add(w)); } else merged.set(key, l);
  }
  map.links = [...merged.values()];
  return [...all.filter(n => kept.has(n)), more];
}

function drawMap() {
  const box = byId("map-box");
  box.replaceChildren();
  if (!T.count) { box.append(el("p", {class: "empty"}, "No connections, so nothing to draw.")); return; }
  const rows = byId("map-filtered").checked ? shown : everyRow();
  if (!rows.length) { box.append(el("p", {class: "empty"}, "No connection passes the filter.")); return; }
  const wanted = byId("map-by").value, by = wanted === "auto" ? grouping(rows) : wanted;
  byId("map-by-said").textContent = "clients by " + by;
  const map = gather(rows, by), columns = ["client", "service", "backend"].map(c => fold(map, c));
  box.append(draw(map, columns, Math.max(box.clientWidth || 1200, 720)));
}

const NARROW = 16, GAP = 8, LEAST = 28;

// layout gives every node a place: bars are as high as their connections, and
// never lower than a label needs.
function layout(map, columns, width) {
  const side = Math.min(300, width * 0.24), tallest = Math.max(...columns.map(c => c.length));
  const room = Math.max(260, Math.min(900, tallest * 46));
  const total = Math.max(...columns.map(c => c.reduce((sum, n) => sum + n.n, 0)));
  const scale = Math.min(...columns.map(c => (room - GAP * (c.length - 1)) / Math.max(1, c.reduce((s, n) => s + n.n, 0)))) || room / total;
  const unit = Math.max(scale, 0.0001) * 0.8, xs = [side, width / 2 - NARROW / 2, width - side - NARROW];
  const order = (list, weigh) => list.sort((a, b) => (a.key === "\0more") - (b.key === "\0more") || weigh(a) - weigh(b));
  const place = (list, i) => {
    let y = 26;
    for (const n of list) { n.x = xs[i]; n.y = y; n.h = Math.max(n.n * unit, 3); n.box = Math.max(n.h, LEAST); y += n.box + GAP; }
    return y;
  };
  const center = (n, side) => {
    let sum = 0, all = 0;
    for (const l of map.links) if (l[side === "from" ? "to" : "from"] === n) { const o = l[side]; sum += (o.y + o.h / 2) * l.n; all += l.n; }
    return all ? sum / all : n.y;
  };
  columns.forEach(place);
  order(columns[1], n => center(n, "from")); place(columns[1], 1);
  order(columns[2], n => center(n, "from")); place(columns[2], 2);
  const heights = columns.map(c => c.reduce((y, n) => y + n.box + GAP, 26)), height = Math.max(...heights);
  columns.forEach((c, i) => c.forEach(n => { n.y += (height - heights[i]) / 2; }));
  return {height: height + 4, unit};
}

function draw(map, columns, width) {
  const {height, unit} = layout(map, columns, width);
  const out = svg("svg", {class: "map", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "map of clients, services and backends"}, patterns());
  const heads = ["Clients", "Services", "Backends"];
  columns.forEach((c, i) => out.append(svg("text", {class: "head", x: i === 0 ? c[0].x + NARROW : i === 1 ? width / 2 : c[0].x, y: 14, "text-anchor": ["end", "middle", "start"][i]}, heads[i])));
  const used = new Map(), sums = new Map(), thickness = l => Math.max(l.n * unit, 1.2);
  const name = (n, side) => n.column + n.key + side;
  const add = (to, key, h) => { const y = to.get(key) || 0; to.set(key, y + h); return y; };
  for (const l of map.links) { add(sums, name(l.from, "out"), thickness(l)); add(sums, name(l.to, "in"), thickness(l)); }
  // Thin flows are drawn thicker than they are, but not outside of their bar.
  const take = (n, side, h) => { const key = name(n, side), fits = h * Math.min(1, n.h / sums.get(key)); return [n.y + (n.box - n.h) / 2 + add(used, key, fits), fits]; };
  map.links.sort((a, b) => a.from.y - b.from.y || a.to.y - b.to.y || (a.state < b.state ? -1 : 1));
  for (const l of map.links) {
    const x0 = l.from.x + NARROW, x1 = l.to.x, [y0, h0] = take(l.from, "out", thickness(l)), [y1, h1] = take(l.to, "in", thickness(l)), m = (x0 + x1) / 2;
    out.append(svg("path", {class: "flow " + l.state, d: `M${x0},${y0}C${m},${y0} ${m},${y1} ${x1},${y1}V${y1 + h1}C${m},${y1 + h1} ${m},${y0 + h0} ${x0},${y0 + h0}Z`},
      svg("title", {}, `${l.from.label} → ${l.to.label}: ${count(l.n, "connection")}, ${[...l.words].join(", ")}`)));
  }
  for (const n of columns.flat()) out.append(bar(n, width, map));
  return out;
}

// patterns tell states apart without colour.
function patterns() {
  const stripes = (id, d, w) => svg("pattern", {id, width: w, height: w, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"}, svg("rect", {class: "ground", width: w, height: w}), svg("path", {d}));
  return svg("defs", {}, stripes("p-weak", "M0,0V6", 6), stripes("p-bad", "M0,0V5M0,0H5", 5), stripes("p-none", "M0,0V8", 3));
}

function bar(n, width, map) {
  const right = n.column === "backend", middle = n.column === "service";
  const state = !right ? "plain" : n.flags ? "bad" : n.verdict === "none" ? "none" : n.verdict || n.idle ? "weak" : "fine";
  const x = right ? n.x + NARROW + 8 : middle ? n.x + NARROW + 6 : n.x - 8, y = n.y + n.box / 2;
  const most = middle ? Math.floor((width * 0.24 - 30) / 6.3) : Math.floor((Math.min(300, width * 0.24) - 14) / 6.4);
  const tail = number(n.n) + (right ? shareText(n, map) : "") + (n.flags ? " · " + [...n.flags].join(", ") : "");
  const first = middle ? joined(short(n.label, most - tail.length - 2)) : short(n.label, most);
  const words = joined(n.label, n.sub) + ": " + count(n.n, "connection") + (right ? shareText(n, map) : "") + (n.flags ? ", " + [...n.flags].join(", ") : "");
  const pick = () => choose(n);
  const g = svg("g", {class: "node " + n.column + (n.quiet ? " quiet" : ""), tabindex: 0, role: "button", "aria-label": words + "; show in the table", click: pick,
    keydown: e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(); } }},
    svg("title", {}, words),
    svg("rect", {class: "hit", x: right ? n.x : middle ? n.x : 0, y: n.y, width: right ? width - n.x : middle ? width * 0.24 : n.x + NARROW, height: n.box}),
    svg("rect", {class: "bar " + state, x: n.x, y: n.y + (n.box - n.h) / 2, width: NARROW, height: n.h, rx: 2}),
    svg("text", {class: "label", x, y: y - 2, "text-anchor": n.column === "client" ? "end" : "start"}, middle ? [first + "  ", svg("tspan", {class: "num"}, tail)] : first),
    svg("text", {class: "sub", x, y: y + 11, "text-anchor": n.column === "client" ? "end" : "start"}, middle ? short(n.sub || "", most) : [svg("tspan", {class: "num"}, tail), n.sub ? "  " + short(n.sub, most - tail.length - 2) : ""]));
  return withTick(n, g, map);
}

// expectedOf is the share of its one service's connections that a backend is
// expected to have.
function expectedOf(n, map) {
  if (n.backend === undefined) return null;
  const from = map.links.filter(l => l.to === n), services = new Set(from.map(l => l.from));
  if (services.size !== 1) return null;
  const [s] = services, of = s.service === undefined ? null : data.services[s.service], part = of && of.spread.find(p => p.backend === n.backend);
  if (!part || part.share === undefined) return null;
  const all = map.links.filter(l => l.from === s && l.to.backend !== undefined || l.from === s && l.to.key === "\0more").reduce((sum, l) => sum + l.n, 0);
  return {share: part.share, has: n.n / all, all};
}

function shareText(n, map) {
  if (n.idle) return `, expected ${percent(n.idle)}`;
  const e = expectedOf(n, map);
  return e ? ` = ${percent(e.has)}, expected ${percent(e.share)}` : "";
}

// withTick adds the mark of the expected height beside a backend's bar.
function withTick(n, g, map) {
  const e = n.column === "backend" && expectedOf(n, map);
  if (e && e.all > 1) {
    const h = n.n ? n.h * e.share / e.has : 0, y = n.y + (n.box - n.h) / 2 + h;
    g.append(svg("path", {class: "tick", d: `M${n.x - 5},${y}H${n.x + NARROW + 5}`}));
  }
  return g;
}

const short = (s, most) => s.length <= most ? s : s.slice(0, Math.ceil(most * 0.55) - 1) + "…" + s.slice(s.length - Math.floor(most * 0.45));

function choose(n) {
  if (n.key === "\0more") return;
  if (n.service !== undefined) return narrow({s: String(n.service)});
  if (n.backend !== undefined) return narrow({b: String(n.backend)});
  if (n.idle) return byId("services").scrollIntoView();
  if (n.verdict) return narrow({v: n.verdict});
  if (n.find === "direct" && n.column === "service") return narrow({m: "direct"});
  narrow({q: /^(no name|no namespace|host not known|not known)$/.test(n.find) ? "" : n.find});
}

function mapSection() {
  const option = (value, label) => el("option", {value}, label);
  byId("map").append(el("div", {class: "title"}, el("h2", {id: "map-title"}, "Map"),
    el("label", {}, "Clients ", el("select", {id: "map-by", change: drawMap}, option("auto", "as they fit"), option("workload", "by workload"), option("namespace", "by namespace"), option("host", "by host"), option("network", "by network"), option("address", "by address"))),
    el("label", {}, el("input", {type: "checkbox", id: "map-filtered", change: drawMap}), " only what the table shows"),
    el("span", {class: "dim", id: "map-by-said"}), legend()), el("div", {id: "map-box"}));
}

function legend() {
  const key = (state, words) => el("span", {class: "key"}, svg("svg", {width: 22, height: 12, "aria-hidden": "true"}, svg("rect", {class: "bar " + state, width: 22, height: 12, rx: 2})), words);
  return el("div", {class: "legend"}, key("fine", "settled"), key("weak", "weak or not settled"), key("bad", "backend out of service"), key("none", "nothing serves it"),
    el("span", {class: "key"}, svg("svg", {width: 22, height: 12, "aria-hidden": "true"}, svg("path", {class: "tick", d: "M1,6H21"})), "expected share"));
}
