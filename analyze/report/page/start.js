function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  for (const b of document.querySelectorAll("[data-theme]:is(button)")) b.setAttribute("aria-pressed", b.dataset.theme === name);
}

// keep remembers the colours where the browser lets pages of files do so.
function keep(name) { try { localStorage.setItem("whichbackend-theme", name); } catch { /* not kept */ } }
function kept() { try { return localStorage.getItem("whichbackend-theme"); } catch { return null; } }

function start() {
  searchTexts();
  summary();
  findings();
  mapSection();
  tableSection();
  servicesSection();
  artifactsSection();
  byId("foot").append(`${data.about.tool}. The page holds all that it shows and asks nothing of any network.`);
  byId("page").hidden = false;
  for (const b of document.querySelectorAll("button[data-theme]")) b.addEventListener("click", () => { theme(b.dataset.theme); keep(b.dataset.theme); });
  theme(["light", "dark"].includes(kept()) ? kept() : "auto");
  recallOrRefresh();
  drawMap();
  let wait;
  addEventListener("resize", () => { clearTimeout(wait); wait = setTimeout(() => { drawMap(); drawRows(); }, 150); });
  addEventListener("hashchange", recall);
  byId("detail").addEventListener("close", () => { detailRow = -1; remember(); byId("rows").focus({preventScroll: true}); });
  byId("detail").addEventListener("click", e => { if (e.target === e.currentTarget) e.currentTarget.close(); });
  document.addEventListener("keydown", keys);
  addEventListener("beforeprint", () => drawRows(0, Math.min(shown.length, 60)));
  addEventListener("afterprint", () => drawRows());
  document.documentElement.dataset.ready = "true";
}

function recallOrRefresh() {
  if (location.hash.includes("=")) recall();
  else { controls(); refresh(); }
}

function keys(e) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
  if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !byId("detail").open) {
    e.preventDefault();
    byId("connections").scrollIntoView();
    byId("search").focus();
    byId("search").select();
  } else if (e.key === "Escape" && e.target === byId("search")) {
    view.q = "";
    changed();
    byId("rows").focus();
  } else if ((e.key === "ArrowDown" || e.key === "Enter") && e.target === byId("search")) {
    e.preventDefault();
    byId("rows").focus();
  }
}

start();
