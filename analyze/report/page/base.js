// Texts of bundles go into the document as text nodes only.
const data = JSON.parse(document.getElementById("data").textContent);
const T = data.table;
const byId = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(4)) {
    if (child !== undefined && child !== null && child !== false && child !== "") node.append(child);
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const number = n => n.toLocaleString("en-US");
const count = (n, noun) => number(n) + " " + noun + (n === 1 ? "" : "s");
const percent = x => (100 * x).toFixed(x > 0 && x < 0.1 ? 1 : 0) + "%";
const joined = (...list) => list.filter(Boolean).join(" ");
const say = text => { byId("said").textContent = text; };

// endpoint is how an address and a port are written.
const endpoint = (address, port) => !address ? "" : !port ? address : (address.includes(":") ? "[" + address + "]" : address) + ":" + port;
const clientAddress = row => endpoint(T.clients[T.client[row]].address, T.port[row]);
const serviceOf = row => data.services[T.service[row]];
const verdictOf = row => data.verdicts[T.verdict[row]].name;
const serviceLabel = s => s.name || s.address || "not known";
const backendLabel = b => b.name || b.address || "not known";

// endText says in a few words what a connection ends at.
function endText(end) {
  const list = (end.backends || []).map(i => T.backends[i]);
  if (end.how === "one") return [list[0].name, list[0].address];
  if (end.how === "none") return ["nothing serves it", ""];
  if (end.how === "unknown") return ["not known", ""];
  const words = {several: n => n + " backends, by request", candidates: n => n === 1 ? "1 candidate" : "one of " + n, conflict: n => n + " claimed"};
  return [words[end.how](list.length), list.map(backendLabel).join(", ")];
}

// badge shows a verdict or severity by word, shape and colour.
const badge = word => el("span", {class: "badge " + word}, word);

// copyable is a command with a button that copies it.
function copyable(command) {
  const button = el("button", {type: "button", class: "copy", click: async () => {
    let done = true;
    try { await navigator.clipboard.writeText(command); } catch { done = copied(code); }
    button.textContent = done ? "copied" : "select it";
    say(done ? "copied" : "the command is selected");
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }}, "copy");
  const code = el("code", {}, command);
  return el("span", {class: "command"}, code, button);
}

// copied is the older way, for pages of files where the newer is refused.
function copied(node) {
  getSelection().selectAllChildren(node);
  try { return document.execCommand("copy"); } catch { return false; }
}

const askFor = row => data.about.ask + (clientAddress(row) ? " --from " + quoted(clientAddress(row)) : "") +
  (serviceOf(row).address ? " --to " + quoted(serviceOf(row).address) : "") + " --explain";
const quoted = s => /^[\w./:@%+=,-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'";

const listingLines = data.listings.map(flat => {
  const lines = new Map();
  for (let i = 1; i < flat.length; i += 2) lines.set(flat[i], flat[i + 1]);
  return {path: flat[0], lines};
});

function position(e) {
  return (e.i === undefined ? e.a : listingLines[e.i].path) + (e.l ? ":" + e.l : "") + (e.p ? " packet " + e.p : "") + (e.j ? "#" + e.j : "");
}

// marked is a line with what proves it marked.
function marked(line, marks) {
  const out = [];
  let at = 0;
  for (let i = 0; i < (marks || []).length; i += 2) {
    out.push(line.slice(at, marks[i]), el("mark", {}, line.slice(marks[i], marks[i + 1])));
    at = marks[i + 1];
  }
  return [...out, line.slice(at)];
}

// evidence shows where something is written: a line with those around it, or
// a packet or an element as it is.
function evidence(e) {
  const where = el("figcaption", {}, position(e), e.t ? el("time", {}, e.t) : "");
  if (e.i === undefined) {
    return el("figure", {class: "proof"}, where, e.x ? el("pre", {tabindex: 0}, el("span", {class: "line hit"}, el("i", {}, e.l || ""), el("span", {}, marked(e.x, e.m)))) : "");
  }
  const lines = listingLines[e.i].lines, shown = [];
  for (let n = e.l - 2; n <= e.l + 2; n++) {
    if (!lines.has(n)) continue;
    const hit = n === e.l;
    shown.push(el("span", {class: hit ? "line hit" : "line", "aria-current": hit && "true"}, el("i", {}, n), el("span", {}, hit ? marked(lines.get(n), e.m) : lines.get(n)), "\n"));
  }
  return el("figure", {class: "proof"}, where, el("pre", {tabindex: 0}, shown));
}
