function facts() {
  const a = data.about, c = a.coverage;
  const fact = (name, ...value) => value.flat().length ? [el("dt", {}, name), el("dd", {}, value)] : [];
  const share = n => c.lines ? n / c.lines : 0;
  const bar = svg("svg", {class: "coverage", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": `${c.understood} of ${c.lines} lines understood`},
    svg("rect", {class: "c-ok", x: 0, width: 100 * share(c.understood), height: 6}),
    svg("rect", {class: "c-idle", x: 100 * share(c.understood), width: 100 * share(c.ignored), height: 6}),
    svg("rect", {class: "c-bad", x: 100 * share(c.understood + c.ignored), width: 100 * share(c.unknown), height: 6}));
  return el("dl", {class: "facts"},
    fact("Bundle", a.inputs.map(i => el("div", {}, el("b", {class: "wrap"}, i.path), i.created ? el("span", {class: "dim"}, " recorded " + i.created) : "",
      i.note ? el("div", {class: "note"}, i.note) : "", i.sha256 ? el("div", {class: "dim mono small", title: "sha256 " + i.sha256}, "sha256 " + i.sha256.slice(0, 16) + "…") : ""))),
    fact("Moment", a.first ? (a.first === a.last ? a.first : a.first + " to " + a.last) : "no manifest tells when it was recorded",
      a.at ? el("div", {}, "asked for with --at " + a.at) : "", a.elsewhen ? el("div", {class: "dim"}, count(a.elsewhen, "artifact") + " of other moments; --at shows those") : ""),
    fact("Hosts", folded(a.hosts.map(h => el("div", {}, h.name || "unnamed host", el("span", {class: "dim"}, " " + count(h.count, "artifact") + (h.first ? ", from " + h.first.slice(11, 19) : "")))), 6, "host")),
    fact("Mechanisms", a.mechanisms.length ? a.mechanisms.map(m => el("div", {}, el("b", {}, m.name), " " + number(m.count), el("span", {class: "dim"}, " " + m.means))) : "none found"),
    fact("Coverage", bar, el("div", {}, `${number(c.understood)} of ${count(c.lines, "line")} in ${count(c.artifacts, "artifact")} understood, ${number(c.ignored)} ignored, `,
      c.unknown ? el("b", {}, `${number(c.unknown)} not understood`) : "none left"), a.captures ? el("div", {class: "dim"}, count(a.captures, "packet capture")) : ""),
    a.clocks ? fact("Clocks", a.clocks.map(s => el("div", {}, s))) : []);
}

// folded shows the first of a list, and the others on demand.
function folded(list, most, noun) {
  if (list.length <= most + 1) return list;
  const rest = list.slice(most);
  return [...list.slice(0, most), el("details", {class: "more"}, el("summary", {}, count(rest.length, "more " + noun)), rest)];
}

function verdictCounts() {
  const list = data.verdicts.filter(v => v.count);
  let x = 0;
  const parts = list.map(v => {
    const w = 1000 * v.count / T.count;
    const part = svg("rect", {class: "v-" + v.name, x, width: w, height: 14}, svg("title", {}, `${v.name}: ${number(v.count)}`));
    x += w;
    return part;
  });
  return el("div", {class: "verdicts"}, el("h2", {}, count(T.count, "connection")),
    T.count ? svg("svg", {class: "stack", viewBox: "0 0 1000 14", preserveAspectRatio: "none", role: "img", "aria-label": "connections by verdict"}, parts) : el("p", {class: "empty"}, "The bundle holds no connection: no socket, table entry, log row or captured flow. ‘whichbackend inspect’ shows what it holds."),
    el("ul", {}, list.map(v => el("li", {}, el("button", {type: "button", class: "pick", title: v.holds, click: () => narrow({v: v.name})},
      badge(v.name), el("b", {}, number(v.count))), el("span", {class: "dim"}, v.holds)))));
}

function missing() {
  const a = data.about, gaps = data.gaps.map((g, i) => ({...g, i})).sort((x, y) => y.count - x.count || x.i - y.i);
  const recorded = m => el("li", {}, el("b", {}, joined(m.host, m.what)), ` ${m.because}`, m.detail ? el("span", {class: "dim"}, ": " + m.detail) : "");
  const absent = m => m.because === "not-found"; // of what a host simply does not have, the number is enough
  const block = (title, most, list) => list.length ? el("div", {class: "lack"}, el("h3", {}, title + " (" + number(list.length) + ")"), 
    most ? el("ul", {}, folded(list, most, "line")) : el("details", {class: "more"}, el("summary", {}, "list"), el("ul", {}, list))) : "";
  const out = [
    block("Could not be recorded", 4, a.missing.filter(m => !absent(m)).map(recorded)),
    block("Would settle more", 4, gaps.map(g => el("li", {}, el("b", {}, g.missing), el("span", {class: "dim"}, ` ${g.effect || ""}; ${count(g.count, "connection")}`), g.command ? copyable(g.command) : ""))),
    block("Rules that could not judge", 0, data.unjudged.map(u => el("li", {}, el("b", {}, u.id), el("span", {class: "dim"}, `: ${u.finds}. Needs ${u.needs}`)))),
    block("Not on the hosts", 0, a.missing.filter(absent).map(recorded)),
    block("Warnings", 4, a.warnings.map(w => el("li", {}, w)))].filter(Boolean);
  return el("div", {class: "missing"}, el("h2", {}, "What is missing"), out.length ? out : el("p", {class: "empty"}, "Nothing: all was recorded, every connection is settled, and every rule could judge."));
}

function summary() {
  const names = data.about.inputs.map(i => i.path.split("/").pop());
  byId("summary").append(el("h1", {id: "title"}, names.length > 3 ? `${names[0]} and ${names.length - 1} more` : names.join(", ")),
    el("div", {class: "cards"}, el("div", {class: "card"}, facts()), el("div", {class: "card"}, verdictCounts()), el("div", {class: "card"}, missing())));
}

function findings() {
  const box = byId("findings"), by = {};
  for (const f of data.findings) by[f.severity] = (by[f.severity] || 0) + 1;
  box.append(el("h2", {id: "findings-title"}, "Findings ", Object.entries(by).map(([s, n]) => el("span", {class: "tally " + s}, count(n, s)))));
  if (!data.findings.length) {
    box.append(el("p", {class: "empty"}, `No findings. ${count(data.about.rules, "rule")} judged this case and found nothing` +
      (data.unjudged.length ? `; ${number(data.unjudged.length)} could not judge it, see “What is missing”.` : ".")));
  }
  data.findings.forEach((f, i) => box.append(finding(f, i)));
}

function finding(f, i) {
  const lists = [];
  if (f.objects) lists.push(el("h4", {}, "Concerns"), el("ul", {class: "objects"}, folded(f.objects.map(o => el("li", {}, el("span", {class: "dim"}, o.kind + " "), joined(o.name, o.address), o.host ? el("span", {class: "dim"}, " on " + o.host) : "")), 12, "object")));
  if (f.count) lists.push(el("h4", {}, count(f.count, "connection")), el("p", {}, f.rows.length ? el("button", {type: "button", click: () => narrow({f: String(i)})}, f.count > f.rows.length ? `show ${number(f.rows.length)} of them in the table` : "show in the table") : "They are not in the table: ", f.rows.length ? "" : "the rule counts them elsewhere."),
    el("ul", {class: "rows"}, f.rows.slice(0, 5).map(row => el("li", {}, el("button", {type: "button", class: "link", click: () => openDetail(row)}, `${clientAddress(row)} → ${serviceLabel(serviceOf(row))}`)))));
  if (f.evidence) lists.push(el("h4", {}, "Evidence"), f.evidence.map(evidence));
  return el("details", {class: "finding " + f.severity}, el("summary", {}, badge(f.severity), el("span", {class: "what"}, f.title), el("span", {class: "dim id"}, f.id + (f.count ? " · " + count(f.count, "connection") : ""))),
    el("div", {class: "body"}, el("div", {class: "words"},
      f.why ? [el("h4", {}, "Why it matters"), el("p", {}, f.why)] : "", f.do ? [el("h4", {}, "What to do"), el("p", {}, f.do)] : "",
      f.see ? [el("h4", {}, "See"), f.see.map(u => el("p", {class: "wrap"}, /^https:\/\//.test(u) ? el("a", {href: u, rel: "noreferrer noopener", target: "_blank"}, u) : u))] : ""), el("div", {class: "proofs"}, lists)));
}
