package bundle

import (
	"path"
	"slices"
	"strings"
)

// scopeFolders stand directly below a host and so make their parent a host: the
// folders of its network namespaces, and the one of its captures.
var scopeFolders = []string{"pods", "containers", "netns", "pcap"}

// wrapper finds the folders that wrap everything and name no host, given the
// paths of all files and of all manifests of a bundle.
//
// A single top folder is a wrapper when it holds a manifest, or a folder
// "cluster", or nothing but folders that are none of pods, containers and
// netns. Otherwise it is a host. The rule is applied again inside a wrapper,
// but never past a manifest: that stands at the top of its bundle.
func wrapper(files, manifests []string) string {
	all := append(slices.Clone(files), manifests...)
	at := "."
	for !holdsManifest(manifests, at) {
		top := onlyFolder(all, at)
		if top == "" || !wraps(all, manifests, top) {
			break
		}
		at = top
	}
	if at == "." {
		return ""
	}
	return at
}

// wraps is the rule for one single top folder.
func wraps(all, manifests []string, top string) bool {
	name := path.Base(top)
	if name == "cluster" || slices.Contains(scopeFolders, name) {
		return false
	}
	if holdsManifest(manifests, top) {
		return true
	}
	files, folders := children(all, top)
	if folders["cluster"] {
		return true
	}
	for _, f := range scopeFolders {
		if folders[f] {
			return false
		}
	}
	return !files && len(folders) > 0
}

// onlyFolder gives the one folder in which all below at stands, or "".
func onlyFolder(all []string, at string) string {
	files, folders := children(all, at)
	if files || len(folders) != 1 {
		return ""
	}
	for f := range folders {
		at = path.Join(at, f)
	}
	return at
}

// children tells whether files stand directly in a folder, and which folders
// do. Files about the bundle are not counted: they belong to no host.
func children(all []string, at string) (files bool, folders map[string]bool) {
	folders = map[string]bool{}
	for _, p := range all {
		if at != "." {
			var ok bool
			if p, ok = strings.CutPrefix(p, at+"/"); !ok {
				continue
			}
		}
		first, _, below := strings.Cut(p, "/")
		switch {
		case below:
			folders[first] = true
		case first == "expect.yaml" || first == "truth.tsv" || strings.HasPrefix(first, "README"):
		default:
			files = true
		}
	}
	return files, folders
}

func holdsManifest(manifests []string, at string) bool {
	return slices.ContainsFunc(manifests, func(m string) bool { return path.Dir(m) == at })
}
