const STATES = /^(not ready|terminating|not listed|weight 0|unhealthy|quarantined|maintenance)/;

function servicesSection() {
  const list = data.services.map((s, i) => ({s, i})).filter(x => !x.s.direct).sort((a, b) => b.s.count - a.s.count || a.i - b.i);
  const direct = data.services.filter(s => s.direct).reduce((sum, s) => sum + s.count, 0);
  const box = byId("services"), grid = el("div", {class: "grid"});
  box.append(el("div", {class: "title"}, el("h2", {id: "services-title"}, "Services"), el("span", {class: "dim"}, count(list.length, "address") .replace(/addresss$/, "addresses") + " that clients dialled" + (direct ? `; ${count(direct, "connection")} dialled a backend directly` : ""))), grid);
  if (!list.length) box.append(el("p", {class: "empty"}, "No connection goes through a service."));
  inSteps(list, 24, grid, x => serviceCard(x.s, x.i), box, "service");
}

// inSteps shows a long list a part at a time.
function inSteps(list, size, into, make, box, noun) {
  let at = 0;
  const more = el("button", {type: "button", class: "further", click: () => next()});
  const next = () => {
    into.append(...list.slice(at, at + size).map(make));
    at += size;
    const left = list.length - at;
    more.hidden = left <= 0;
    more.textContent = `show ${number(Math.min(size, left))} of ${count(left, "more " + noun)}`;
  };
  next();
  if (list.length > size) box.append(more);
}

function serviceCard(s, i) {
  const settled = s.spread.reduce((sum, p) => sum + p.count, 0);
  const most = Math.max(0.0001, ...s.spread.map(p => Math.max(settled ? p.count / settled : 0, p.share || 0)));
  const open = s.count - settled, verdicts = s.verdicts.map((n, v) => n ? `${number(n)} ${data.verdicts[v].name}` : "").filter(Boolean).join(", ");
  return el("article", {class: "card service"}, el("header", {}, el("h3", {}, el("button", {type: "button", class: "link", click: () => narrow({s: String(i)})}, serviceLabel(s))), el("code", {}, joined(s.name ? s.address : "", s.protocol === "tcp" ? "" : s.protocol)), el("span", {class: "dim"}, count(s.count, "connection") + " of " + count(s.clients, "client"))),
    s.spread.length ? el("table", {class: "spread"}, el("thead", {}, el("tr", {}, ["Backend", "", "Has", "Expected", "Weight"].map(h => el("th", {scope: "col"}, h)))),
      el("tbody", {}, s.spread.slice(0, 40).map(p => spreadRow(p, settled, most)))) : el("p", {class: "empty"}, "No backend is known."),
    s.spread.length > 40 ? el("p", {class: "dim"}, count(s.spread.length - 40, "more backend")) : "",
    el("p", {class: "dim small"}, verdicts, open > 0 ? `; ${number(open)} not settled` : "", s.uneven ? `; no expected share: ${s.uneven}` : "", s.chance && s.spread.length > 1 ? `; ${s.chance}` : ""),
    s.listings ? el("details", {}, el("summary", {}, count(s.listed, "listing") + " of its backends"), el("ul", {class: "small"}, s.listings.map(l => el("li", {}, el("b", {}, l.from), ` names ${count(l.backends, "backend")}`, l.complete ? "" : " and may not be whole", el("span", {class: "dim wrap"}, " " + joined(l.place, l.artifact + (l.line ? ":" + l.line : "") + (l.pointer ? "#" + l.pointer : "")))))),
      s.listed > s.listings.length ? el("p", {class: "dim small"}, `and ${number(s.listed - s.listings.length)} more`) : "") : "");
}

function spreadRow(p, settled, most) {
  const has = settled ? p.count / settled : 0, state = p.state ? "bad" : "fine";
  const chart = svg("svg", {viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true"}, svg("rect", {class: "track", width: 100, height: 12}), svg("rect", {class: "bar " + state, width: 100 * has / most, height: 12}),
    p.share === undefined ? "" : svg("path", {class: "tick", d: `M${Math.min(99.4, 100 * p.share / most)},0V12`}));
  return el("tr", {class: p.state ? "flagged" : ""}, el("td", {title: joined(p.name, p.address)}, el("div", {class: "n"}, p.name || p.address), p.name ? el("div", {class: "dim small"}, p.address) : "", p.state ? el("span", {class: "badge " + (STATES.test(p.state) ? "warning" : "info")}, p.state) : ""),
    el("td", {class: "chart"}, chart), el("td", {class: "num"}, number(p.count), settled > 1 ? el("span", {class: "dim"}, " " + percent(has)) : ""), el("td", {class: "num"}, p.share === undefined ? "-" : percent(p.share)), el("td", {class: "num"}, p.weight ?? "-"));
}

function artifactsSection() {
  const box = byId("artifacts"), all = data.artifacts, troubled = all.list.filter(a => a.count || a.truncated || a.unknown);
  const body = el("tbody", {}), only = el("input", {type: "checkbox", change: () => show()});
  const rest = el("div", {});
  const show = () => { body.replaceChildren(); rest.replaceChildren(); inSteps(only.checked ? troubled : all.list, 25, body, artifactRow, rest, "artifact"); };
  box.append(el("div", {class: "title"}, el("h2", {id: "artifacts-title"}, "Artifacts"), el("span", {class: "dim"}, count(all.count, "listing") + (all.count > all.list.length ? `, the first ${number(all.list.length)} shown` : "") + `; ${number(troubled.length)} with something not understood or cut`),
    el("label", {}, only, " only these")), el("div", {class: "scroll"}, el("table", {class: "sheet"}, el("thead", {}, el("tr", {}, ["Artifact", "Where it is true", "Format", "Lines", "Understood", "Ignored", "Not understood"].map(h => el("th", {scope: "col"}, h)))), body)), rest);
  if (!all.list.length) box.append(el("p", {class: "empty"}, "The bundle holds no artifact."));
  show();
}

function artifactRow(a) {
  const num = n => el("td", {class: "num" + (n ? "" : " zero")}, number(n));
  return el("tr", {class: a.count ? "flagged" : ""}, el("td", {class: "wrap"}, a.path + (a.line ? ":" + a.line : ""), a.truncated ? el("span", {class: "badge warning"}, "cut") : "",
    a.count ? el("details", {}, el("summary", {}, count(a.count, "problem")), el("ul", {class: "problems"}, (a.problems || []).map(p => el("li", {}, el("b", {}, p.line ? "line " + p.line : p.packet ? "packet " + p.packet : p.pointer || ""), " " + p.why, p.text ? el("code", {}, p.text) : ""))),
      a.count > (a.problems || []).length ? el("p", {class: "dim small"}, `and ${number(a.count - (a.problems || []).length)} more; whichbackend inspect -o wide shows them`) : "") : ""),
    el("td", {class: "wrap"}, a.scope || "-"), el("td", {}, joined(a.format || "unclaimed", a.tool ? "· " + a.tool : "")), num(a.lines), num(a.understood), num(a.ignored), num(a.unknown));
}
