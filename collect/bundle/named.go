package bundle

import "os"

// createNamed makes a file of mode 0600 that has a name until it gets its own.
func createNamed(dir string) (f *os.File, named string, err error) {
	f, err = os.CreateTemp(dir, ".bundle-*") // has mode 0600
	if err != nil {
		return nil, "", err
	}
	return f, f.Name(), nil
}
