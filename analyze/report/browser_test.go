package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium is Debian's. Without it the tests are skipped, but not in CI.
func chromium(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatal("chromium is missing; install it with: apt-get install chromium")
	}
	t.Skip("chromium is missing; install it with: apt-get install chromium")
	return ""
}

// tab is a page in a browser, and what went wrong in it.
type tab struct {
	context.Context
	t       testing.TB
	mu      sync.Mutex
	wrong   []string
	address string
}

// show opens a page from a file. The test fails when anything is written to
// the console, thrown, or asked of a network.
func show(t testing.TB, html string) *tab {
	t.Helper()
	program := chromium(t)
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(stop)
	ctx, stopBrowser := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath(program))...)
	t.Cleanup(stopBrowser)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	b := &tab{Context: ctx, t: t, address: "file://" + file}
	b.must(chromedp.Listen(ctx, b.hear))
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	b.must(err)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	b.must(err)
	b.must(chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(b.address)))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range b.wrong {
			t.Error(w)
		}
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
	})
	b.is("the page is there", "document.documentElement.dataset.ready")
	return b
}

// hear keeps what must not happen.
func (b *tab) hear(ev any) {
	what := ""
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		what = fmt.Sprintf("an exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *runtime.EventConsoleAPICalled:
		what = "written to the console: " + string(e.Type)
	case *log.EventEntryAdded:
		what = "a message of the browser: " + e.Entry.Text
	case *network.EventRequestWillBeSent:
		if e.Request.URL != b.address && !strings.HasPrefix(e.Request.URL, b.address+"#") {
			what = "requested: " + e.Request.URL
		}
	}
	if what != "" {
		b.mu.Lock()
		b.wrong = append(b.wrong, what)
		b.mu.Unlock()
	}
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// is waits until an expression of the page is true; what is says it.
func (b *tab) is(what, expression string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b, 30*time.Second)
	defer stop()
	if _, err := chromedp.Run(ctx, chromedp.Poll[any]("Boolean("+expression+")")); err != nil {
		at, _ := chromedp.Run(b, chromedp.Evaluate[string](`location.hash + " " + document.getElementById("counted")?.textContent + ", at " + document.activeElement.outerHTML.slice(0, 200)`))
		b.t.Fatalf("%s: not so: %s (%v; %s)", what, expression, err, at)
	}
}

// do evaluates a statement in the page.
func (b *tab) do(statement string) {
	b.t.Helper()
	_, err := chromedp.Run(b, chromedp.Evaluate[any]("(() => { "+statement+"; return 0 })()"))
	b.must(err)
}

func (b *tab) press(keys string) {
	b.t.Helper()
	b.must(chromedp.Do(b, chromedp.KeyEvent(keys)))
}

const rowsInSight = `[...document.querySelectorAll("#rows tbody tr:not(.space)")]`

// TestPage searches, filters, sorts and opens a connection, by mouse and keys.
func TestPage(t *testing.T) {
	b := show(t, written(t, opened(t, fixtures+"/swarm/bundle.tar.gz")))
	b.is("the summary", `document.querySelector("#summary").textContent.includes("docker-swarm")`)
	b.is("the map has clients, services and backends", `["client", "service", "backend"].every(c => document.querySelector("#map .node." + c))`)
	b.is("all are counted", `document.getElementById("counted").textContent === "21 connections"`)

	b.press("/")
	b.is("/ leads to the search", `document.activeElement.id === "search"`)
	b.do(`document.getElementById("search").select()`) // the driver sends the character of a key that was taken, too
	b.press("10.0.1.4")
	b.is("the search narrows", `document.getElementById("counted").textContent === "6 of 21 connections" && `+rowsInSight+`.every(r => r.textContent.includes("10.0.1.4:80"))`)
	b.is("a link keeps it", `location.hash.includes("q=10.0.1.4")`)
	b.press(kb.Escape)
	b.is("Esc clears", `document.getElementById("counted").textContent === "21 connections"`)

	b.do(`const s = document.getElementById("filter-v"); s.value = "observed"; s.dispatchEvent(new Event("change"))`)
	b.is("a filter", `document.getElementById("counted").textContent === "9 of 21 connections" && `+rowsInSight+`.every(r => r.querySelector(".badge").textContent === "observed")`)
	b.must(chromedp.Do(b, chromedp.Click("#clear")))

	b.must(chromedp.Do(b, chromedp.Click(`#rows th[data-column="by"] button`)))
	b.is("sorted", `document.querySelector('th[data-column="by"]').getAttribute("aria-sort") === "ascending" && `+rowsInSight+`.map(r => r.cells[4].textContent).every((x, i, a) => !i || a[i - 1] <= x)`)
	b.must(chromedp.Do(b, chromedp.Click(`#rows th[data-column="by"] button`)))
	b.is("sorted the other way", rowsInSight+`.map(r => r.cells[4].textContent).every((x, i, a) => !i || a[i - 1] >= x)`)

	b.do(`location.hash = "q=54288&s="`)
	b.is("a link opens what was shown", `document.getElementById("counted").textContent.startsWith("1 of") && document.getElementById("search").value === "54288"`)
	b.do(`document.getElementById("rows").focus()`)
	b.press(kb.Enter)
	b.is("Enter opens", `document.getElementById("detail").open && document.activeElement.id === "detail-title"`)
	proof := `[...document.querySelectorAll("#detail .proof")].find(p => p.querySelector("figcaption").textContent === "swarm1/netns/lb_632qywu7e/ipvsadm-Lnc.txt:6")`
	b.is("the line that proves it", proof+`.querySelector(".line.hit span").textContent === "TCP 08:43  ESTABLISHED 10.0.1.3:54288     10.0.1.4:80        10.0.1.5:80"`)
	b.is("its number, and lines around it", proof+`.querySelector(".line.hit i").textContent === "6" && `+proof+`.querySelectorAll(".line").length > 2`)
	b.is("what proves it is marked", `[...`+proof+`.querySelectorAll("mark")].map(m => m.textContent).join() === "10.0.1.3:54288,10.0.1.4:80,10.0.1.5:80"`)
	b.is("what changed is marked", `[...document.querySelectorAll("#detail .step.hop .changed")].some(c => c.textContent === "10.0.1.5:80")`)
	b.press(kb.Escape)
	b.is("Esc closes, and leads back", `!document.getElementById("detail").open && document.activeElement.id === "rows"`)
	b.do(`document.querySelector("#map .node.service").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}))`)
	b.is("a service of the map filters", `location.hash.includes("s=") && document.getElementById("counted").textContent.includes(" of 21 ")`)
}

// TestKeys moves through the table with the arrow keys.
// TestPrint: on paper the table ends above what follows it, and says how many
// rows it leaves out.
func TestPrint(t *testing.T) {
	b := show(t, written(t, opened(t, fixtures+"/kube-proxy-iptables/bundle.tar.gz")))
	_, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	b.must(err)
	b.do(`dispatchEvent(new Event("beforeprint"))`)
	b.is("the table is whole", `document.querySelector("#rows table").getBoundingClientRect().bottom <= document.getElementById("services").getBoundingClientRect().top`)
	b.is("what is left out is said", `document.getElementById("rows").textContent.includes("137 more connections")`)
}

func TestKeys(t *testing.T) {
	b := show(t, written(t, opened(t, fixtures+"/kube-proxy-iptables/bundle.tar.gz")))
	b.do(`document.getElementById("rows").focus()`)
	b.press(kb.End)
	b.is("End goes to the last", `document.querySelector("#rows tr.active").getAttribute("aria-rowindex") === "198"`)
	b.press(kb.ArrowUp)
	b.is("up", `document.querySelector("#rows tr.active").getAttribute("aria-rowindex") === "197" && document.getElementById("rows").getAttribute("aria-activedescendant") === document.querySelector("#rows tr.active").id`)
	b.press(kb.Home)
	b.press(kb.ArrowDown)
	b.is("down", `document.querySelector("#rows tr.active").getAttribute("aria-rowindex") === "3"`)
}

// TestHostileNames shows names that are markup as the text that they are.
func TestHostileNames(t *testing.T) {
	b := show(t, written(t, opened(t, hostile(t))))
	b.is("the name in the table", rowsInSight+`.some(r => r.cells[0].textContent.includes("default/<script>alert(1)</script>"))`)
	b.is("the name in the map", `[...document.querySelectorAll("#map .node")].some(n => n.getAttribute("aria-label").includes("<script>alert(1)</script>"))`)
	b.is("no markup of it", `document.querySelectorAll("script").length === 2`)
	b.is("an override of direction as an escape", `document.body.textContent.includes("\\u202etxt.exe") && !document.querySelector("main").textContent.includes("\u202e")`)
}

// TestFindingOpens leads from a finding to its connections.
func TestFindingOpens(t *testing.T) {
	b := show(t, written(t, opened(t, fixtures+"/synthetic/nobody-serves/bundle")))
	b.do(`document.querySelector("#findings details").open = true`)
	b.is("its evidence", `document.querySelector("#findings .proof .line.hit, #findings .proof pre")`)
	b.do(`[...document.querySelectorAll("#findings button")].find(x => x.textContent.startsWith("show")).click()`)
	b.is("its connections in the table", `location.hash.includes("f=0") && document.getElementById("filter-f").value === "0" && `+rowsInSight+`.length > 0`)
}

// TestManyConnections opens and filters a page of 100,000, and opens one of
// which it holds no evidence.
func TestManyConnections(t *testing.T) {
	html, err := large()
	if err != nil {
		t.Fatal(err)
	}
	b := show(t, html)
	b.is("it says what it holds", `document.querySelector(".note-details").textContent.startsWith("Evidence of 2,000 of ")`)
	b.is("few rows are drawn", rowsInSight+`.length < 80`)
	b.do(`const s = document.getElementById("search"); s.value = "10.96.0.7"; s.dispatchEvent(new Event("input"))`)
	b.is("the search narrows", `document.getElementById("counted").textContent.includes(" of ") && `+rowsInSight+`.every(r => r.cells[1].textContent.includes("10.96.0.7:80"))`)
	b.do(`document.getElementById("rows").focus()`)
	b.press(kb.End)
	b.is("the last is in sight", `document.querySelector("#rows tr.active").getAttribute("aria-rowindex") === document.getElementById("rows").getAttribute("aria-rowcount")`)
	b.press(kb.Enter)
	b.is("one without evidence says how to see it", `document.querySelector("#detail .lack code").textContent.startsWith("whichbackend ask crowd.tar.gz --from 10.")`)
}

// TestNothing shows what was read when there is no connection.
func TestNothing(t *testing.T) {
	b := show(t, written(t, opened(t, bundle(t, map[string]string{"node1/conntrack.txt": "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n"}))))
	b.is("it says so", `document.querySelector("#map").textContent.includes("nothing to draw") && document.getElementById("none-shown").textContent.includes("no connection")`)
}
