package relay_test

import (
	"fmt"
	"testing"

	"whichbackend/analyze/record"
)

var strong = []record.Tier{record.TierAnnounced, record.TierPayload, record.TierSizes}

func TestWorlds(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		for _, sizes := range []string{"many", "few", "one"} {
			for _, begins := range []string{"unique", "equal", "none"} {
				for _, loss := range []float64{0, 0.05, 0.3} {
					for _, told := range []bool{false, true} {
						if told && loss > 0 {
							continue
						}
						for _, clients := range []int{1, 8, 64, 256} {
							for seed := uint64(1); seed <= 2; seed++ {
								w := world{seed: seed, clients: clients, each: max(2, 200/clients), requests: 3, pooled: pooled, sizes: sizes, begins: begins, missed: loss, cut: loss, torn: loss / 2, told: told, added: 50}
								if !pooled {
									w.added = 0
								}
								m := w.make()
								s, _, ab := m.find()
								name := fmt.Sprintf("pooled=%v sizes=%s begins=%s loss=%v told=%v clients=%d", pooled, sizes, begins, loss, told, clients)
								t.Logf("%s: %.3f of %d right %v wrong %v %v", name, s.share(), s.all, s.right, s.wrong, ab)
								for _, tier := range strong {
									if s.wrong[tier] > 0 {
										t.Errorf("%s: %d wrong by %s", name, s.wrong[tier], tier)
									}
								}
							}
						}
					}
				}
			}
		}
	}
}
