//go:build !linux

package bundle

import "os"

func createUnnamed(dir string) (f *os.File, named string, err error) { return createNamed(dir) }

func giveName(_ *os.File, named, _ string) (string, error) { return named, nil }
