// The table draws only the rows in sight, so that 100,000 are as fast as 100.
const ROW = 28;
const FILTERS = [["v", "Verdict"], ["m", "Mechanism"], ["s", "Service"], ["h", "Host"], ["p", "Protocol"], ["b", "Backend"], ["f", "Finding"]];
const COLUMNS = [["client", "Client"], ["service", "Service"], ["backend", "Backend"], ["verdict", "Verdict"], ["by", "By"], ["state", "State"]];
let view = {q: "", sort: "", down: false}, shown = [], active = 0, detailRow = -1;
let all;
const everyRow = () => all || (all = Uint32Array.from({length: T.count}, (_, i) => i));

const texts = {};
function searchTexts() {
  const low = list => list.map(x => x.toLowerCase());
  texts.client = low(T.clients.map(c => [c.name, c.address, c.host, c.namespace, c.workload].filter(Boolean).join(" ")));
  texts.service = low(data.services.map(s => [s.name, s.address, s.protocol].filter(Boolean).join(" ")));
  texts.end = low(T.ends.map(e => [...endText(e), ...(e.backends || []).map(i => joined(T.backends[i].name, T.backends[i].address, T.backends[i].host))].join(" ")));
  texts.mechanism = low(T.mechanisms);
  texts.state = low(T.states);
}

// matcher tells of a row whether every word of the search is in it. Words are
// looked up once for each text that rows have in common.
function matcher(q) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean).map(word => {
    const hits = {};
    for (const name of ["client", "service", "end", "mechanism", "state"]) hits[name] = texts[name].map(t => t.includes(word));
    return {word, hits, port: /[\d:]/.test(word)};
  });
  return row => words.every(({word, hits, port}) => hits.client[T.client[row]] || hits.service[T.service[row]] || hits.end[T.end[row]] || hits.mechanism[T.mechanism[row]] ||
    hits.state[T.state[row]] || verdictOf(row) === word || port && clientAddress(row).includes(word));
}

function passes() {
  const tests = [], number = k => Number(view[k]);
  if (view.v) { const v = data.verdicts.findIndex(x => x.name === view.v); tests.push(r => T.verdict[r] === v); }
  if (view.m) { const ok = T.mechanisms.map(m => m.split(", ").includes(view.m)); tests.push(r => ok[T.mechanism[r]]); }
  if (view.s) { const s = number("s"); tests.push(r => T.service[r] === s); }
  if (view.p) { const p = T.protocols.indexOf(view.p); tests.push(r => T.protocol[r] === p); }
  if (view.b) { const ok = T.ends.map(e => (e.backends || []).includes(number("b"))); tests.push(r => ok[T.end[r]]); }
  if (view.f) { const rows = new Set((data.findings[number("f")] || {rows: []}).rows); tests.push(r => rows.has(r)); }
  if (view.h) {
    const c = T.clients.map(x => x.host === view.h), e = T.ends.map(x => (x.backends || []).some(i => T.backends[i].host === view.h));
    tests.push(r => c[T.client[r]] || e[T.end[r]]);
  }
  if (view.q) tests.push(matcher(view.q));
  return tests;
}

// ranks orders the texts of a column once, so that rows compare by number.
const ranked = {};
function rank(name) {
  if (ranked[name]) return ranked[name];
  const order = list => {
    const at = list.map((_, i) => i).sort((a, b) => list[a] < list[b] ? -1 : list[a] > list[b] ? 1 : a - b), out = new Float64Array(list.length);
    at.forEach((i, n) => { out[i] = n; });
    return out;
  };
  const by = {
    client: () => { const r = order(T.clients.map(c => joined(c.name, c.address))); return row => r[T.client[row]] * 65536 + T.port[row]; },
    service: () => { const r = order(data.services.map(s => joined(s.name, s.address))); return row => r[T.service[row]]; },
    backend: () => { const r = order(T.ends.map(e => endText(e).join(" "))); return row => r[T.end[row]]; },
    verdict: () => row => T.verdict[row],
    by: () => { const r = order(T.mechanisms); return row => r[T.mechanism[row]]; },
    state: () => { const r = order(T.states); return row => r[T.state[row]]; },
  };
  return ranked[name] = by[name]();
}

function refresh() {
  const tests = passes();
  shown = tests.length ? everyRow().filter(row => tests.every(t => t(row))) : everyRow();
  if (view.sort) {
    const r = rank(view.sort), way = view.down ? -1 : 1;
    shown = Array.from(shown).sort((a, b) => way * (r(a) - r(b)) || a - b);
  }
  active = Math.min(active, Math.max(shown.length - 1, 0));
  const box = byId("rows");
  box.setAttribute("aria-rowcount", shown.length + 1);
  byId("counted").textContent = shown.length === T.count ? count(T.count, "connection") : `${number(shown.length)} of ${count(T.count, "connection")}`;
  box.style.height = shown.length * ROW + 40 + "px"; // and no more than the style allows
  byId("none-shown").hidden = shown.length > 0;
  byId("none-shown").textContent = T.count ? "No connection passes the filter." : "The bundle holds no connection.";
  byId("clear").disabled = !tests.length;
  for (const th of box.querySelectorAll("th")) th.setAttribute("aria-sort", th.dataset.column !== view.sort ? "none" : view.down ? "descending" : "ascending");
  drawRows();
  if (byId("map-filtered").checked) drawMap();
}

function drawRows(from, to) {
  const box = byId("rows"), body = box.querySelector("tbody");
  const first = from ?? Math.max(0, Math.floor(box.scrollTop / ROW) - 6), last = to ?? Math.min(shown.length, first + Math.ceil(box.clientHeight / ROW) + 12);
  const space = n => { const tr = el("tr", {class: "space", "aria-hidden": "true"}, el("td", {colspan: COLUMNS.length})); tr.style.height = n * ROW + "px"; return tr; };
  const list = [];
  if (first > 0 && from === undefined) list.push(space(first));
  for (let i = first; i < last; i++) list.push(tableRow(i));
  if (last < shown.length && to === undefined) list.push(space(shown.length - last));
  if (last < shown.length && to !== undefined) list.push(el("tr", {class: "rest"}, el("td", {colspan: COLUMNS.length}, `and ${count(shown.length - last, "more connection")}: the page itself has them`)));
  body.replaceChildren(...list);
  box.setAttribute("aria-activedescendant", shown.length ? "row-" + active : "");
}

function tableRow(i) {
  const row = shown[i], c = T.clients[T.client[row]], s = serviceOf(row), [name, address] = endText(T.ends[T.end[row]]), by = T.mechanisms[T.mechanism[row]];
  const two = (a, b) => [el("span", {class: "n"}, a || b), a && b ? el("span", {class: "dim"}, " " + b) : ""];
  const title = (...list) => joined(...list);
  return el("tr", {id: "row-" + i, "aria-rowindex": i + 2, class: i === active ? "active" : "", "aria-selected": i === active ? "true" : "false", click: () => { active = i; openDetail(row); }},
    el("td", {title: title(c.name, clientAddress(row), c.host && "on " + c.host)}, two(c.name, clientAddress(row) || "not known")),
    el("td", {title: title(s.name, s.address, s.protocol)}, two(s.name, joined(s.address, s.protocol === "tcp" ? "" : s.protocol))),
    el("td", {title: title(name, address)}, two(name, address)), el("td", {}, badge(verdictOf(row))), el("td", {title: by}, by || "-"), el("td", {}, T.states[T.state[row]] || "-"));
}

// narrow sets filters and shows the table.
function narrow(more) {
  view = {q: "", sort: view.sort, down: view.down, ...more};
  changed();
  byId("connections").scrollIntoView();
  byId("rows").focus({preventScroll: true});
}

function changed(keep) {
  if (!keep) { byId("rows").scrollTop = 0; active = 0; }
  controls();
  refresh();
  remember();
}

// remember keeps the state in the address, so that a link opens it again.
function remember() {
  const p = new URLSearchParams();
  for (const [k] of [["q"], ...FILTERS, ["sort"]]) if (view[k]) p.set(k, view[k]);
  if (view.down && view.sort) p.set("down", "1");
  if (detailRow >= 0) p.set("c", detailRow);
  const text = p.toString();
  if (location.hash.slice(1) !== text) history.replaceState(null, "", text ? "#" + text : "#");
}

function recall() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return;
  const p = new URLSearchParams(hash);
  view = {q: p.get("q") || "", sort: COLUMNS.some(([k]) => k === p.get("sort")) ? p.get("sort") : "", down: p.has("down")};
  for (const [k] of FILTERS) if (p.get(k)) view[k] = p.get(k);
  const row = p.has("c") ? Number(p.get("c")) : -1;
  controls();
  refresh();
  if (Number.isInteger(row) && row >= 0 && row < T.count) openDetail(row);
  else if (byId("detail").open) byId("detail").close();
}

function controls() {
  byId("search").value = view.q;
  for (const [k] of FILTERS) {
    const select = byId("filter-" + k);
    select.value = view[k] || "";
    select.parentNode.classList.toggle("on", Boolean(view[k]));
    select.parentNode.hidden = select.options.length < 2;
  }
}

function choices() {
  const MAX = 500, top = (list, label) => list.slice(0, MAX).map(x => [x, label ? label(x) : x]);
  const hosts = [...new Set([...T.clients, ...T.backends].map(x => x.host).filter(Boolean))].sort();
  const services = data.services.map((s, i) => i).sort((a, b) => data.services[b].count - data.services[a].count || a - b);
  const held = new Map();
  for (const s of data.services) for (const p of s.spread) if (p.backend >= 0) held.set(p.backend, (held.get(p.backend) || 0) + p.count);
  const backends = T.backends.map((_, i) => i).sort((a, b) => (held.get(b) || 0) - (held.get(a) || 0) || a - b);
  return {
    v: data.verdicts.filter(v => v.count).map(v => [v.name, `${v.name} (${number(v.count)})`]), m: data.about.mechanisms.map(m => [m.name, `${m.name} (${number(m.count)})`]),
    s: top(services, i => joined(data.services[i].name, data.services[i].address, data.services[i].protocol) + ` (${number(data.services[i].count)})`),
    h: top(hosts), p: T.protocols.map(p => [p, p]), b: top(backends, i => joined(T.backends[i].name, T.backends[i].address)), f: data.findings.map((f, i) => [i, f.title]).filter(([i]) => data.findings[i].rows.length),
  };
}

function tableSection() {
  const lists = choices();
  const filter = ([k, label]) => el("label", {class: "filter"}, label, el("select", {id: "filter-" + k, change: e => { view[k] = e.target.value; if (!view[k]) delete view[k]; changed(); }}, el("option", {value: ""}, "all"), lists[k].map(([v, t]) => el("option", {value: v}, short(t, 70)))));
  const head = ([k, label]) => el("th", {scope: "col", "data-column": k, "aria-sort": "none"}, el("button", {type: "button", click: () => {
    if (view.sort !== k) { view.sort = k; view.down = false; } else if (!view.down) view.down = true; else { view.sort = ""; view.down = false; }
    changed();
  }}, label));
  let wait;
  const search = el("input", {type: "search", id: "search", placeholder: "address, name, state … ( / )", "aria-label": "Search connections", autocomplete: "off", spellcheck: "false",
    input: e => { clearTimeout(wait); wait = setTimeout(() => { view.q = e.target.value.trim(); byId("rows").scrollTop = 0; active = 0; refresh(); remember(); }, T.count > 20000 ? 120 : 0); }});
  byId("connections").append(
    el("div", {class: "title"}, el("h2", {id: "connections-title"}, "Connections"), el("span", {id: "counted", role: "status"}), detailNote()),
    el("div", {class: "tools"}, search, FILTERS.map(filter), el("button", {type: "button", id: "clear", click: () => { view = {q: "", sort: view.sort, down: view.down}; changed(); }}, "clear")),
    el("div", {id: "rows", role: "grid", tabindex: 0, "aria-label": "Connections; arrow keys move, Enter opens", scroll: () => requestAnimationFrame(() => drawRows()), keydown: tableKeys},
      el("table", {role: "presentation"}, el("colgroup", {}, COLUMNS.map(([k]) => el("col", {class: "w-" + k}))), el("thead", {}, el("tr", {}, COLUMNS.map(head))), el("tbody", {}))),
    el("p", {id: "none-shown", class: "empty", hidden: true}));
}

function detailNote() {
  if (data.details.length >= T.count) return "";
  const row = 0;
  return el("span", {class: "dim note-details"}, `Evidence of ${number(data.details.length)} of ${number(T.count)} is in this page: of findings, of what is not settled, and a sample of the rest. All others with `, copyable(data.about.ask + " --from " + quoted(clientAddress(row))));
}

function tableKeys(e) {
  if (e.target !== e.currentTarget) return;
  const page = Math.max(1, Math.floor(e.currentTarget.clientHeight / ROW) - 2);
  const moves = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length, j: 1, k: -1};
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Enter" && shown.length) { e.preventDefault(); openDetail(shown[active]); return; }
  if (!(e.key in moves)) return;
  e.preventDefault();
  active = Math.max(0, Math.min(shown.length - 1, active + moves[e.key]));
  reveal();
}

// reveal scrolls so far that the active row is in sight.
function reveal() {
  const box = byId("rows"), top = active * ROW, head = 32;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW + head > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW + head - box.clientHeight;
  drawRows();
}
