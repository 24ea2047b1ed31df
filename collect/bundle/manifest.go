package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Version is the bundle format that this program writes, and the newest it reads.
const Version = 1

// Manifest is what the collector says about a bundle. Its texts come from the
// bundle and may hold anything.
type Manifest struct {
	Version   int        `yaml:"whichbackend"`
	Created   time.Time  `yaml:"created"`
	Collector Collector  `yaml:"collector,omitempty"`
	Note      string     `yaml:"note,omitempty"`
	Hosts     []Host     `yaml:"hosts,omitempty"`
	Artifacts []Artifact `yaml:"artifacts,omitempty"`
	Missing   []Missing  `yaml:"missing,omitempty"`
}

// Collector is the program that recorded the bundle.
type Collector struct {
	Version string `yaml:"version,omitempty"`
	Commit  string `yaml:"commit,omitempty"`
}

// Host is a machine on which artifacts were recorded.
type Host struct {
	Name       string      `yaml:"name"`
	Kernel     string      `yaml:"kernel,omitempty"`
	Clock      Clock       `yaml:"clock,omitempty"`
	Namespaces []Namespace `yaml:"namespaces,omitempty"`
}

// Clock ties the two clocks of a host together, both read at one moment.
type Clock struct {
	Wall time.Time `yaml:"wall,omitempty"`
	// Boot is in seconds since the host started, sleep included.
	Boot float64 `yaml:"boot,omitempty"`
	// NTP is what the host says of its synchronisation, as "synchronised".
	NTP string `yaml:"ntp,omitempty"`
}

// Namespace is a network namespace of a host.
type Namespace struct {
	ID     string  `yaml:"id"` // the inode; a number or a text in YAML
	Owners []Owner `yaml:"owners,omitempty"`
}

// Owner is a pod, container or process that lives in a network namespace.
type Owner struct {
	Kind      string `yaml:"kind,omitempty"`
	Namespace string `yaml:"namespace,omitempty"`
	Name      string `yaml:"name,omitempty"`
	Container string `yaml:"container,omitempty"`
	PID       int    `yaml:"pid,omitempty"`
}

// Artifact is one file of the bundle and how it was recorded.
type Artifact struct {
	Path      string        `yaml:"path"` // below the folder of the manifest
	Host      string        `yaml:"host,omitempty"`
	NetNS     string        `yaml:"netns,omitempty"` // a Namespace.ID
	Command   []string      `yaml:"command,flow,omitempty"`
	Tool      string        `yaml:"tool,omitempty"`
	Started   time.Time     `yaml:"started,omitempty"`
	Took      time.Duration `yaml:"took,omitempty"`
	Exit      int           `yaml:"exit"`
	Size      int64         `yaml:"size"`   // as in the bundle
	SHA256    string        `yaml:"sha256"` // as in the bundle, hex
	Truncated bool          `yaml:"truncated,omitempty"`
}

// Missing is something that could not be recorded.
type Missing struct {
	Host    string `yaml:"host,omitempty"`
	What    string `yaml:"what"`
	Because string `yaml:"because"` // not-found, permission, timeout, too-large, failed, excluded
	Detail  string `yaml:"detail,omitempty"`
}

const (
	manifestName = "manifest.yaml"
	manifestSize = 8 << 20
	// manifestHead is where the key that tells a manifest must stand. Clusters
	// are full of other files named manifest.yaml.
	manifestHead = 64 << 10
)

var manifestKey = regexp.MustCompile(`(?m)^(?:\{\s*)?["']?whichbackend["']?\s*:`)

// parseManifest gives as much as it understood, with a warning for what it did
// not. The error is for what must not be read on: a newer format, and paths
// that lead out of the bundle.
func parseManifest(text []byte) (m *Manifest, warning string, err error) {
	m = &Manifest{}
	if e := decodeYAML(text, m); e != nil {
		warning = e.Error()
		var partly *yaml.TypeError
		if !errors.As(e, &partly) {
			return nil, warning, nil
		}
		warning = strings.Join(partly.Errors, ", ")
	}
	if m.Version > Version {
		return nil, "", fmt.Errorf("has format %d, newer than this program, which reads %d", m.Version, Version)
	}
	if m.Version < Version && warning == "" {
		warning = fmt.Sprintf("has format %d, read as %d", m.Version, Version)
	}
	for i := range m.Artifacts {
		clean, unsafe := cleanName(m.Artifacts[i].Path, false)
		if unsafe != "" {
			return nil, "", fmt.Errorf("lists an artifact %q that %s", m.Artifacts[i].Path, unsafe)
		}
		m.Artifacts[i].Path = clean
	}
	return m, warning, nil
}

// decodeYAML stands between a hostile file and the YAML library, which has
// panicked on broken input before.
func decodeYAML(text []byte, m *Manifest) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("no valid YAML: %v", p)
		}
	}()
	return yaml.Unmarshal(text, m)
}

// encode writes the manifest as a bundle holds it. The artifacts, which may be
// many thousands, go through the YAML library a few at a time: it needs a lot of
// memory for each.
func (m *Manifest) encode() ([]byte, error) {
	const few = 100
	c := *m
	c.Version = Version
	var b bytes.Buffer
	write := func(v any) error {
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		return errors.Join(e.Encode(v), e.Close())
	}
	c.Artifacts, c.Missing = nil, nil
	if err := write(&c); err != nil {
		return nil, err
	}
	if len(m.Artifacts) > 0 {
		b.WriteString("artifacts:\n")
	}
	for some := range slices.Chunk(m.Artifacts, few) {
		if err := write(some); err != nil {
			return nil, err
		}
	}
	if len(m.Missing) > 0 {
		if err := write(map[string][]Missing{"missing": m.Missing}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// takeManifest reads an entry named manifest.yaml. When it is another file of
// that name, ours is false and the entry still gives its whole content.
func (r *Reader) takeManifest(e *Entry) (ours bool, err error) {
	head, err := io.ReadAll(io.LimitReader(e, manifestHead))
	if err != nil {
		return false, err
	}
	if !manifestKey.Match(head) {
		e.Reader = io.MultiReader(bytes.NewReader(head), e.Reader)
		return false, nil
	}
	rest, err := io.ReadAll(io.LimitReader(e, manifestSize+1-int64(len(head))))
	if err != nil {
		return false, err
	}
	text := append(head, rest...)
	if len(text) > manifestSize {
		return false, r.guard.fail(fmt.Sprintf("%s has more than %d bytes", e.Path, manifestSize), doPart)
	}
	r.manifests = append(r.manifests, e.Path)
	if r.body.cut {
		r.warn("%s: cut, and not used", e.Path)
		return true, nil
	}
	if r.manifest != nil && strings.Count(r.manifestPath, "/") <= strings.Count(e.Path, "/") {
		return true, nil // judge says so at the end
	}
	m, warning, err := parseManifest(text)
	if err != nil {
		return false, r.guard.fail(e.Path+" "+err.Error(), "use a newer whichbackend, or open the bundle without its "+manifestName)
	}
	switch {
	case m == nil:
		r.warn("%s: not used: %s", e.Path, warning)
		return true, nil
	case warning != "":
		r.warn("%s: %s", e.Path, warning)
	}
	r.manifest, r.manifestPath = m, e.Path
	return true, nil
}

// judge holds the manifest against what was read, at the end of the bundle.
func (r *Reader) judge() {
	top := r.wrapper
	if top == "" {
		top = "."
	}
	for _, p := range r.manifests {
		if path.Dir(p) != top {
			r.warn("%s: not used: it does not stand at the top of the bundle", p)
		}
	}
	if r.manifest != nil && path.Dir(r.manifestPath) != top {
		r.manifest = nil
	}
	if r.manifest == nil {
		return
	}
	for _, a := range r.manifest.Artifacts {
		p := path.Join(r.wrapper, a.Path)
		got, ok := r.seen[p]
		switch {
		case !ok:
			r.warn("%s: listed in the manifest, but absent", p)
		case !got.whole: // the cut is reported already
		case a.Size == 0 && a.SHA256 == "": // a manifest by hand, which says neither
		case got.size != a.Size:
			r.warn("%s: has %d bytes, %d in the manifest", p, got.size, a.Size)
		case !strings.EqualFold(fmt.Sprintf("%x", got.sum), a.SHA256):
			r.warn("%s: sha256 differs from the manifest", p)
		}
	}
}
