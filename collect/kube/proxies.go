package kube

import "context"

// proxies records what the proxies of a pod know.
func (r *recorder) proxies(ctx context.Context, p *pod, brought bool) {}
