package parse

import "testing"

// TestSentOnce: rows as Linux 6.18 had them.
func TestSentOnce(t *testing.T) {
	for _, c := range []struct {
		name                             string
		sent, again, acked, queued, want uint64
	}{
		{"it opened the connection", 174, 0, 175, 0, 174},
		{"it accepted it", 230, 0, 230, 0, 230},
		{"some was sent again", 4000, 1448, 2553, 0, 2552},
		{"too long for the path at first, and not told so", 6279, 0, 4306, 0, 4305},
		{"some is on the way", 4000, 0, 1001, 3000, 4000},
		{"told again, but never sent", 100, 300, 101, 0, 100},
		{"a kernel before 4.2", 0, 0, 0, 0, 0},
		{"a kernel that does not say what was acknowledged", 100, 30, 0, 0, 70},
	} {
		if got := sentOnce(c.sent, c.again, c.acked, c.queued); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
