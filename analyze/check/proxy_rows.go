package check

import (
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// logRow names a row of a log: one log is often recorded twice.
type logRow struct {
	place         record.Scope
	before, after record.Tuple
	start         time.Time
	id, flags     string
}

// rowsBy groups the rows of proxies' logs by what pick makes of them, with the
// connections of the answer that rest on them. seen tells whether there were
// any rows.
func rowsBy[K comparable](k *Case, via record.Via, pick func(*record.Translation) (K, bool)) (groups groupsOf[K], seen bool) {
	groups = groupsOf[K]{}
	of, once := map[record.Pos]*group[K]{}, map[logRow]bool{}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Via != via || !k.Current(t.Section) {
			return nil
		}
		seen = true
		key, ok := pick(t)
		if !ok {
			return nil
		}
		g := groups.of(key)
		of[t.Pos] = g
		r := logRow{k.Place(t.Section), t.Before, t.After, t.Start, t.RequestID, t.Flags}
		if !once[r] {
			once[r] = true
			g.at = append(g.at, t.Pos)
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	if len(of) == 0 {
		return groups, seen
	}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, t := range c.Entries() {
			if g := of[t.Pos]; g != nil {
				g.add(c)
			}
		}
	}
	return groups, seen
}

// flagged tells whether a row has one of some response flags, and which.
func flagged(t *record.Translation, flags ...string) string {
	for _, f := range strings.Split(t.Flags, ",") {
		for _, want := range flags {
			if f == want {
				return f
			}
		}
	}
	return ""
}

// proxy is the pod or namespace of a proxy as findings list it.
func proxy(place record.Scope) Object {
	return Object{Kind: "proxy", Namespace: place.Namespace, Name: place.Name, Host: place.Host}
}

// proxyName is how titles call a proxy.
func proxyName(place record.Scope) string {
	if place.Kind == record.ScopePod {
		return called(resolve.Party{Namespace: place.Namespace, Name: place.Name})
	}
	return placeName(place)
}
