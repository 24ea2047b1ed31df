package collect

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"whichbackend/collect/docker"
)

// dockerFile records one of the files that the daemon's answers make.
func dockerFile(open func(*docker.Client, context.Context) (io.Reader, error)) func(*env, adder) error {
	return func(e *env, add adder) error {
		if e.r.docker == nil {
			return errors.New("the daemon could not be asked")
		}
		in, err := open(e.r.docker, e.ctx)
		if errors.Is(err, docker.ErrNoSwarm) {
			err = absent{err}
		}
		if err != nil {
			return err
		}
		return add.add(add.name+".txt", io.NopCloser(in), true)
	}
}

// dockerNames asks the daemon, if there is one, which container is whose, and
// keeps the connection for the items.
func (r *recorder) dockerNames(ctx context.Context) map[string]docker.Container {
	c, err := docker.Open(r.host.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its items say so
	}
	if err == nil {
		r.docker = c
		ctx, cancel := context.WithTimeout(ctx, quick)
		defer cancel()
		r.containers, err = c.Names(ctx)
	}
	if err != nil {
		because, detail := (&item{deadline: quick}).judge(ended{err: err}, 0)
		r.missing(nil, "names of docker's containers", because, detail)
	}
	return r.containers
}
