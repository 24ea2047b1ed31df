package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// The tables of crictl (cri-tools 1.28, crictl ps; crictl pods):
//
//	CONTAINER           IMAGE          CREATED        STATE     NAME    ATTEMPT   POD ID          POD
//	aa11bb22cc33d       bb11bb22cc33d  9 days ago     Running   nginx   0         cc11bb22cc33d   nginx-677f5bbd6f-4bzgv
//
//	POD ID              CREATED        STATE     NAME                     NAMESPACE   ATTEMPT   RUNTIME
//	cc11bb22cc33d       9 days ago     Ready     nginx-677f5bbd6f-4bzgv   default     0         (default)
//
// CREATED alone holds blanks and ends in "ago", so a row is read by its words
// and needs no padding. The tables show no addresses; crictl inspectp does.
var crictlFormat = Format{Name: "crictl", Head: crictlHead, Open: crictlOpen, Claim: crictlClaim, Doc: crictlDoc}

func crictlHead(line []byte) bool {
	if len(line) < 20 {
		return false
	}
	switch c := line[0]; {
	case c == 'C', c == 'P':
		return crictlIsHeader(line)
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		if n := bytes.IndexByte(line, ' '); n != 13 && n != 64 || !dockerIsHex(string(line[:n])) {
			return false
		}
		_, ok := crictlRow(line)
		return ok
	}
	return false
}

func crictlIsHeader(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("CONTAINER ")) && !bytes.HasPrefix(line, []byte("POD ID ")) {
		return false
	}
	s := strings.Join(strings.Fields(string(line)), " ")
	return strings.HasPrefix(s, "CONTAINER IMAGE CREATED STATE NAME ATTEMPT POD ID") ||
		strings.HasPrefix(s, "CONTAINER ID IMAGE CREATED STATE NAME ATTEMPT POD ID") ||
		strings.HasPrefix(s, "POD ID CREATED STATE NAME NAMESPACE ATTEMPT")
}

func crictlOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		trimmed := bytes.TrimSpace(b)
		if len(trimmed) == 0 {
			return
		}
		if crictlIsHeader(trimmed) {
			out.Understood()
			return
		}
		o, ok := crictlRow(trimmed)
		if !ok {
			out.Problem("expected a row of crictl: ids, an age, a state, names")
			return
		}
		out.Owner(o)
	}, nil
}

// crictlRow reads a row of either table.
func crictlRow(line []byte) (record.Owner, bool) {
	words := strings.Fields(string(line))
	ago := indexOf(words, "ago")
	if ago < 2 || ago+4 >= len(words) {
		return record.Owner{}, false
	}
	o := record.Owner{Kind: record.OwnerPod, ContainerID: words[0], State: words[ago+1]}
	rest := words[ago+2:]
	switch o.State {
	case "Ready", "NotReady":
		if _, ok := number([]byte(rest[2])); !ok {
			return o, false
		}
		o.Name, o.Namespace = rest[0], rest[1]
		return o, true
	case "Running", "Exited", "Created", "Unknown":
		if _, ok := number([]byte(rest[1])); !ok {
			return o, false
		}
		o.Containers = []string{rest[0]}
		if len(rest) > 3 { // rest[2] is the pod's id
			o.Name = rest[3]
		}
		if len(rest) > 4 {
			o.Namespace = rest[4]
		}
		return o, true
	}
	return o, false
}
