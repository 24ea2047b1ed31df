package bundle

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

// Digest gives the hash that Reader.SHA256 gives at the end, without looking
// into the bundle. It reads a regular file or a folder; a pipe could be read
// only once.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return digestDir(path)
	case !info.Mode().IsRegular():
		return "", &Error{Path: path, Why: "is neither a file nor a folder", Do: "save it to a file and open that"}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

func digestDir(path string) (string, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return "", err
	}
	defer root.Close()
	files, err := walk(root, &guard{path: path, lim: DefaultLimits()})
	if err != nil {
		return "", err
	}
	all := sha256.New()
	for _, f := range files {
		file, _, refused := openIn(root, f)
		if refused != "" {
			addFile(all, f.name, nil, refused)
			continue
		}
		sum := sha256.New()
		io.Copy(sum, file) // what cannot be read is a warning of the Reader
		file.Close()
		addFile(all, f.name, sum, "")
	}
	return fmt.Sprintf("%x", all.Sum(nil)), nil
}
