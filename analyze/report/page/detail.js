const detailOf = new Map(data.details.map(d => [d.row, d]));

function openDetail(row) {
  const box = byId("detail");
  detailRow = row;
  box.replaceChildren(...detailContent(row).flat(4).filter(Boolean));
  if (!box.open) box.showModal();
  box.scrollTop = 0;
  byId("detail-title").focus();
  remember();
}

// step moves to the connection before or after in the table.
function stepDetail(by) {
  const at = shown.indexOf(detailRow), next = at < 0 ? active : at + by;
  if (next < 0 || next >= shown.length) return;
  active = next;
  reveal();
  openDetail(shown[next]);
}

function detailContent(row) {
  const d = detailOf.get(row), c = T.clients[T.client[row]], s = serviceOf(row), end = T.ends[T.end[row]], by = T.mechanisms[T.mechanism[row]];
  const who = (name, address, more) => el("div", {class: "who"}, el("b", {}, name || address || "not known"), name && address ? el("code", {}, address) : "", more ? el("span", {class: "dim"}, more) : "");
  const at = shown.indexOf(row), found = data.findings.filter(f => f.rows.includes(row));
  return [
    el("header", {class: "detail-bar"}, el("h2", {id: "detail-title", tabindex: -1}, "Connection"), badge(verdictOf(row)), el("span", {class: "dim"}, by ? "by " + by : ""),
      el("span", {class: "grow"}), el("button", {type: "button", disabled: at <= 0, click: () => stepDetail(-1)}, "previous"), el("button", {type: "button", disabled: at < 0 || at >= shown.length - 1, click: () => stepDetail(1)}, "next"),
      el("button", {type: "button", id: "close", click: () => byId("detail").close()}, "close (Esc)")),
    el("div", {class: "ends"}, el("div", {}, el("h4", {}, "Client"), who(c.name, clientAddress(row), c.host ? "on " + c.host : "")), el("span", {class: "arrow", "aria-hidden": "true"}, "→"),
      el("div", {}, el("h4", {}, "Dialled"), who(s.name, s.address, joined(T.protocols[T.protocol[row]], T.states[T.state[row]]))), el("span", {class: "arrow", "aria-hidden": "true"}, "→"), el("div", {}, el("h4", {}, "Backend"), backendsOf(end, who))),
    found.map(f => el("p", {class: "flag " + f.severity}, badge(f.severity), " " + f.title)),
    d ? detailBody(d) : el("div", {class: "lack"}, el("p", {}, `The page holds the path and evidence of ${number(data.details.length)} of ${count(T.count, "connection")}. This one is shown by`), copyable(askFor(row)))];
}

function backendsOf(end, who) {
  const list = (end.backends || []).map(i => T.backends[i]);
  if (!list.length) return who(end.how === "none" ? "nothing serves it" : "not known");
  const [words] = endText(end);
  return [end.how === "one" ? "" : el("div", {class: "dim"}, words), folded(list.map(b => who(b.name, b.address, b.host ? "on " + b.host : "")), 6, "backend")];
}

function detailBody(d) {
  const head = (title, content) => content && content.length !== 0 ? el("section", {}, el("h3", {}, title), content) : "";
  return [
    el("p", {class: "reason"}, d.reason, d.notes ? d.notes.map(n => " " + n + ".") : ""),
    d.server ? el("p", {}, "asks for ", el("code", {}, d.server)) : "", d.may ? el("p", {}, "may have dialled ", d.may.join(", ")) : "",
    head("Path", d.steps.length ? el("ol", {class: "path"}, d.steps.map(hop)) : el("p", {class: "empty"}, "No hop is recorded.")),
    head("Candidates and why", (d.backends || []).map(b => el("div", {class: "said"}, el("p", {}, b.text), (b.evidence || []).map(evidence)))),
    head("Conflicts", (d.conflicts || []).map(c => el("div", {class: "said"}, el("p", {}, c.reason), c.claims.map(x => el("div", {}, el("p", {}, x.text), (x.evidence || []).map(evidence)))))),
    head("What would settle it", (d.gaps || []).map(i => data.gaps[i]).map(g => el("div", {class: "said"}, el("p", {}, el("b", {}, "Missing: "), g.missing, g.effect ? el("span", {class: "dim"}, " (" + g.effect + ")") : ""), g.command ? copyable(g.command) : ""))),
    head("Handshake", d.handshake ? [el("p", {}, d.handshake.text), (d.handshake.evidence || []).map(evidence)] : ""),
    d.captures ? el("details", {class: "captures"}, el("summary", {}, `Seen in ${count(d.captures.length, "place")} by packet captures`), el("ol", {class: "path"}, d.captures.map(hop))) : ""];
}

// hop draws one step with its addresses before and after, what changed marked.
function hop(s) {
  const pair = (p, other, label) => el("tr", {}, el("th", {scope: "row"}, label), ["source", "destination"].map((name, i) => [
    i ? el("td", {class: "to", "aria-hidden": "true"}, "→") : "", el("td", {}, el("code", {class: other && p[i] !== other[i] && p[i] && other[i] ? "changed" : ""}, p[i] || "not known"),
      other && label === "after" && p[i] !== other[i] && p[i] && other[i] ? el("span", {class: "word"}, "rewritten") : "")]));
  const rewritten = s.kind === "hop" && s.after[1];
  const same = rewritten && s.before[0] === s.after[0] && s.before[1] === s.after[1];
  return el("li", {class: "step " + s.kind}, el("div", {class: "step-head"}, el("b", {}, s.what), s.mechanism ? el("span", {class: "mech"}, s.mechanism) : "", s.state ? el("span", {class: "state"}, s.state) : "",
    s.place ? el("span", {class: "dim wrap"}, s.place) : "", s.more ? el("span", {class: "dim"}, s.more) : ""),
    el("table", {class: "tuple"}, el("tbody", {}, rewritten && !same ? [pair(s.before, s.after, "before"), pair(s.after, s.before, "after")] : pair(s.before, null, same ? "unchanged" : ""))), (s.evidence || []).map(evidence));
}
