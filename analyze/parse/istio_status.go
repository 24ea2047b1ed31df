package parse

import (
	"encoding/json"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// Whether the proxies have taken what istiod sent them: istioctl proxy-status
// (istioctl 1.0 to 1.25; later ones name the types and no longer tell) and
// istiod's debug page syncz, from which istioctl makes that table.
//
//	NAME              CLUSTER        CDS        LDS        EDS        RDS          ECDS         ISTIOD      VERSION
//	client-0.shop     Kubernetes     SYNCED     SYNCED     STALE      NOT SENT     NOT SENT     istiod-1    1.16.1
//
// A state may be two words, or carry an age or a remark: SYNCED (2m),
// STALE (Never Acknowledged).

// status reads a row of proxy-status by the columns of its header.
func (t *istioctlRun) status(b []byte) {
	var cells []string
	inside := false // of parentheses
	for _, w := range strings.Fields(string(b)) {
		if n := len(cells); n > 0 && (inside || w[0] == '(' || w == "SENT" && cells[n-1] == "NOT") {
			cells[n-1] += " " + w
		} else {
			cells = append(cells, w)
		}
		inside = (inside || w[0] == '(') && w[len(w)-1] != ')'
	}
	if len(cells) != len(t.columns) {
		t.out.Problem("expected as many columns as the header has: " + strconv.Itoa(len(t.columns)))
		return
	}
	for i, column := range t.columns {
		if strings.HasSuffix(column, "DS") && i > 0 {
			t.out.Reading(record.Reading{Subject: "proxy " + cells[0], Name: column, Value: cells[i]})
		}
	}
}

// istioSynced are the members of syncz and the columns that istioctl makes of them.
var istioSynced = []struct{ member, name string }{
	{"cluster", "CDS"}, {"listener", "LDS"}, {"endpoint", "EDS"}, {"route", "RDS"}, {"extensionconfig", "ECDS"},
}

// istioDebugDoc reads syncz. A type of which nothing was sent is left out.
func istioDebugDoc(d *Doc, out *Out) {
	if f := d.First(); f == nil || !f.Has("proxy", "istio_version") && !f.Has("proxy", "cluster_sent") {
		return
	}
	for i, raw := range d.Elements() {
		at := "/" + strconv.Itoa(i)
		var e map[string]json.RawMessage
		dockerDecode(raw, &e, at, out)
		text := func(key string) (s string) {
			if e[key] != nil {
				dockerDecode(e[key], &s, at+"/"+key, out)
			}
			return s
		}
		proxy := text("proxy")
		for _, m := range istioSynced {
			sent, acked := text(m.member+"_sent"), text(m.member+"_acked")
			if proxy == "" || sent == "" {
				continue
			}
			state := "STALE"
			switch acked {
			case sent:
				state = "SYNCED"
			case "":
				state = "STALE (Never Acknowledged)"
			}
			out.At(at + "/" + m.member + "_sent")
			out.Reading(record.Reading{Subject: "proxy " + proxy, Name: m.name, Value: state})
		}
	}
}
