package check

import "math"

// chiSquare is how likely a statistic of Pearson's test is at least so large by
// chance, with so many degrees of freedom.
func chiSquare(x float64, freedom int) float64 {
	if x <= 0 || freedom < 1 {
		return 1
	}
	return upperGamma(float64(freedom)/2, x/2)
}

// upperGamma is the regularised upper incomplete gamma function Q(a, x): by the
// series of its complement where that converges fast, else by the continued
// fraction, in the method of Lentz. Both need about the root of a steps.
func upperGamma(a, x float64) float64 {
	const enough, tiny = 1e-15, 1e-300
	logGamma, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - logGamma)
	limit := 200 + 20*int(math.Sqrt(a))
	if x < a+1 {
		term := 1 / a
		sum := term
		for n := 1; n < limit && term > sum*enough; n++ {
			term *= x / (a + float64(n))
			sum += term
		}
		return max(0, 1-scale*sum)
	}
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	h := d
	for n := 1; n < limit; n++ {
		k := -float64(n) * (float64(n) - a)
		b += 2
		d = 1 / awayFromZero(k*d+b, tiny)
		c = awayFromZero(b+k/c, tiny)
		step := d * c
		h *= step
		if math.Abs(step-1) < enough {
			break
		}
	}
	return min(1, scale*h)
}

func awayFromZero(v, tiny float64) float64 {
	if math.Abs(v) < tiny {
		return tiny
	}
	return v
}
