package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// dockerWords splits a row at blanks. A word that begins with a quote goes on
// to the closing one: docker ps quotes COMMAND as Go does.
func dockerWords(line []byte) []string {
	var words []string
	s := string(line)
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		end := strings.IndexAny(s, " \t")
		if s[0] == '"' {
			if n := dockerQuoted(s); n > 0 {
				end = n
			}
		}
		if end < 0 || end > len(s) {
			end = len(s)
		}
		words = append(words, s[:end])
		s = s[end:]
	}
	return words
}

// dockerQuoted is the length of the quoted word that s begins with, 0 when it
// does not end.
func dockerQuoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '\t' {
				return i + 1
			}
		}
	}
	return 0
}

// dockerDuration skips a duration in words ("About a minute", "2 hours", "less
// than a second") that begins at i; 0 when there is none.
func dockerDuration(words []string, i int) int {
	if i >= len(words) {
		return 0
	}
	n := 2
	switch w := strings.ToLower(words[i]); {
	case w == "less":
		n = 4
	case w == "about":
		n = 3
	case w[0] < '0' || w[0] > '9':
		return 0
	}
	if i+n > len(words) {
		return 0
	}
	return i + n
}

// dockerStatus reads the STATUS of a container that begins at i: its state as
// docker inspect calls it, and where the next column begins; 0 when it is none.
func dockerStatus(words []string, i int) (state string, next int) {
	if i >= len(words) {
		return "", 0
	}
	switch words[i] {
	case "Up":
		state, next = "running", dockerDuration(words, i+1)
		if next == 0 {
			return "", 0
		}
		if next < len(words) && words[next] == "ago" { // podman before 4
			next++
		}
		if next < len(words) && strings.HasPrefix(words[next], "(") {
			if words[next] == "(Paused)" {
				state = "paused"
			}
			for next < len(words) && !strings.HasSuffix(words[next], ")") {
				next++
			}
			next++
		}
		return state, min(next, len(words))
	case "Exited", "Restarting":
		if i+1 >= len(words) || !strings.HasPrefix(words[i+1], "(") {
			return "", 0
		}
		next = dockerDuration(words, i+2)
		if next == 0 || next >= len(words) || words[next] != "ago" {
			return "", 0
		}
		return strings.ToLower(words[i]), next + 1
	case "Removal":
		if i+2 < len(words) && words[i+1] == "In" {
			return "removing", i + 3
		}
		return "", 0
	case "Created", "Dead", "Initialized", "Configured", "Paused", "Stopped", "Stopping", "Removing":
		return strings.ToLower(words[i]), i + 1
	}
	return "", 0
}

// dockerPsWords reads a row of docker ps: what is fixed in it are the words
// "ago" that end CREATED and the STATUS that follows.
func dockerPsWords(line []byte) (dockerCells, bool) {
	words := dockerWords(line)
	for i := 2; i < len(words); i++ {
		if words[i] != "ago" {
			continue
		}
		state, next := dockerStatus(words, i+1)
		if next == 0 || next >= len(words) {
			continue
		}
		c := dockerCells{"CONTAINER ID": words[0], "STATE": state}
		ports := next
		for next < len(words) && dockerIsPorts(words[next]) {
			next++
		}
		if next == len(words) {
			return nil, false
		}
		c["PORTS"] = strings.Join(words[ports:next], " ")
		c["NAMES"] = words[next]
		if rest := words[next+1:]; len(rest) > 0 && (rest[0][0] < '0' || rest[0][0] > '9') {
			return nil, false // more than a SIZE: not the default columns
		}
		// crictl writes a similar row, but neither quotes nor these states.
		if dockerIsHex(words[0]) && (words[2][0] == '"' || words[i+1] == "Up" || words[i+1] == "Exited") {
			c["certain"] = "yes"
		}
		return c, true
	}
	return nil, false
}

func dockerIsPorts(w string) bool {
	w = strings.TrimSuffix(w, ",")
	i := strings.LastIndexByte(w, '/')
	if i < 1 || w[i-1] < '0' || w[i-1] > '9' {
		return false
	}
	switch w[i+1:] {
	case "tcp", "udp", "sctp":
		return true
	}
	return false
}

func dockerPsEmit(c dockerCells, out *Out) string {
	id := c["CONTAINER ID"]
	name := dockerFirstName(c["NAMES"])
	if _, has := c["NAMES"]; has && name == "" || id == "" && name == "" {
		return "expected a container's name: the row ends before it"
	}
	if strings.ContainsAny(id, " \t") || strings.ContainsAny(name, " \t") {
		return "expected one word as the container's id and name"
	}
	state := strings.ToLower(c["STATE"])
	if state == "" {
		words := strings.Fields(c["STATUS"])
		s, next := dockerStatus(words, 0)
		if next == 0 && len(words) > 0 {
			return "expected a container's STATUS: Up, Exited, Created ..."
		}
		state = s
	}
	workload := dockerServiceOf(name)
	if _, after, ok := strings.Cut(c["LABELS"], "com.docker.swarm.service.name="); ok {
		workload, _, _ = strings.Cut(after, ",")
	}
	out.Owner(record.Owner{Kind: record.OwnerContainer, Name: name, ContainerID: id, State: state,
		Workload: workload, HostNetwork: c["NETWORKS"] == "host"})
	base := record.Service{Source: record.FromDocker, Mechanism: "docker", Type: "published", Name: name}
	return dockerPublished(c["PORTS"], base, out)
}

// dockerFirstName is the container's own name in a list that may hold the
// names that links give it ("c2,foo/bar").
func dockerFirstName(names string) string {
	for _, n := range strings.Split(names, ",") {
		n = strings.TrimPrefix(strings.TrimSpace(n), "/")
		if n != "" && !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// dockerServiceOf is the Swarm service in a task's container name,
// service.slot.taskid or service.nodeid.taskid; "" when it is no such name.
func dockerServiceOf(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || len(name)-i-1 != 25 || !dockerIsID([]byte(name[i+1:])) {
		return ""
	}
	return dockerServiceOfTask(name[:i])
}

// dockerServiceOfTask is the service in a task's name, service.slot or
// service.nodeid.
func dockerServiceOfTask(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return ""
}

var dockerTaskStates = map[string]bool{
	"New": true, "Allocated": true, "Pending": true, "Assigned": true, "Accepted": true, "Preparing": true, "Ready": true,
	"Starting": true, "Running": true, "Complete": true, "Shutdown": true, "Failed": true, "Rejected": true, "Remove": true, "Orphaned": true,
}

// dockerTaskWords reads a row of docker service ps, node ps and stack ps. A
// task that waits for a node has no NODE; ERROR is what stands in quotes.
func dockerTaskWords(line []byte) (dockerCells, bool) {
	ports := ""
	if i, j := bytes.IndexByte(line, '"'), bytes.LastIndexByte(line, '"'); j > i {
		line, ports = line[:i], strings.TrimSpace(string(line[j+1:]))
	}
	words := strings.Fields(string(line))
	c := dockerCells{}
	if len(words) > 1 && (words[1] == `\_` || words[1] == "_") {
		words = append(words[:1:1], words[2:]...)
	}
	node := 0
	switch {
	case len(words) > 5 && dockerTaskStates[words[4]] && dockerTaskStates[words[5]]:
		node = 1
		c["NODE"] = words[3]
	case len(words) > 4 && dockerTaskStates[words[3]] && dockerTaskStates[words[4]]:
	default:
		return nil, false
	}
	c["ID"], c["NAME"], c["DESIRED STATE"], c["CURRENT STATE"] = words[0], words[1], words[3+node], words[4+node]
	next := dockerDuration(words, 5+node)
	if next == 0 {
		return nil, false
	}
	if next < len(words) && words[next] == "ago" {
		next++
	}
	if next < len(words) {
		ports = strings.Join(words[next:], " ")
	}
	c["PORTS"] = ports
	if strings.Contains(words[1], ".") {
		c["certain"] = "yes"
	}
	return c, true
}

// dockerTaskEmit says where a task runs. Its PORTS (host mode) are published
// on the task's node, not where the table was printed: they make no service.
func dockerTaskEmit(c dockerCells, out *Out) string {
	name := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(c["NAME"], `\_`), "_"))
	current, _, _ := strings.Cut(c["CURRENT STATE"], " ")
	if name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(c["NODE"], " \t") || !dockerTaskStates[current] {
		return "expected a task's name, its node and its state"
	}
	o := record.Owner{Kind: record.OwnerContainer, Name: name, Workload: dockerServiceOfTask(name), Host: c["NODE"], State: current}
	if id := c["ID"]; len(id) > 12 && dockerIsID([]byte(id)) && o.Workload != "" {
		o.Name = name + "." + id // as the container is called
	}
	out.Owner(o)
	return ""
}

// dockerServiceWords reads a row of docker service ls and stack services.
func dockerServiceWords(line []byte) (dockerCells, bool) {
	words := strings.Fields(string(line))
	if len(words) < 5 || words[2] != "replicated" && words[2] != "global" && words[2] != "replicated-job" && words[2] != "global-job" {
		return nil, false
	}
	i := 3
	if words[3] == "job" {
		i++
	}
	if !strings.Contains(words[i], "/") {
		return nil, false
	}
	i++
	if i < len(words) && strings.HasPrefix(words[i], "(") { // "(max 1 per node)"
		for i < len(words) && !strings.HasSuffix(words[i], ")") {
			i++
		}
		i++
	}
	c := dockerCells{"ID": words[0], "NAME": words[1], "certain": "yes"}
	if i+1 < len(words) {
		c["PORTS"] = strings.Join(words[i+1:], " ")
	}
	return c, true
}

func dockerServiceEmit(c dockerCells, out *Out) string {
	if c["NAME"] == "" || strings.ContainsAny(c["NAME"], " \t") {
		return "expected a service's name"
	}
	out.Understood()
	base := record.Service{Source: record.FromDocker, Mechanism: "docker-swarm", Type: "ingress", Name: c["NAME"]}
	return dockerPublished(c["PORTS"], base, out)
}

// dockerNodeWords reads a row of docker node ls. A star marks the node that
// was asked.
func dockerNodeWords(line []byte) (dockerCells, bool) {
	words := strings.Fields(string(line))
	if len(words) > 1 && words[1] == "*" {
		words = append(words[:1:1], words[2:]...)
	}
	if len(words) < 4 {
		return nil, false
	}
	switch words[3] {
	case "Active", "Pause", "Drain":
		return dockerCells{"ID": words[0], "HOSTNAME": words[1], "STATUS": words[2], "certain": "yes"}, dockerIsNodeStatus(words[2])
	}
	return nil, false
}

func dockerIsNodeStatus(s string) bool {
	return s == "Ready" || s == "Down" || s == "Unknown" || s == "Disconnected"
}

func dockerNodeEmit(c dockerCells, out *Out) string {
	host := c["HOSTNAME"]
	if host == "" || strings.ContainsAny(host, " \t") || !dockerIsNodeStatus(c["STATUS"]) {
		return "expected a node's hostname and status"
	}
	out.Owner(record.Owner{Kind: record.OwnerNode, Name: host, Host: host, State: c["STATUS"]})
	return ""
}

// dockerNetworkWords reads a row of docker network ls, which names no address.
func dockerNetworkWords(line []byte) (dockerCells, bool) {
	words := strings.Fields(string(line))
	if len(words) < 3 || len(words) > 4 {
		return nil, false
	}
	c := dockerCells{"NETWORK ID": words[0], "NAME": words[1]}
	if len(words) == 4 {
		switch words[3] {
		case "local", "swarm", "global":
			switch words[2] {
			case "bridge", "host", "overlay", "null", "macvlan", "ipvlan":
				c["certain"] = "yes"
			}
		}
	}
	return c, true
}

func dockerNetworkEmit(c dockerCells, out *Out) string {
	if c["NETWORK ID"] == "" || c["NAME"] == "" {
		return "expected a network's id and name"
	}
	out.Understood()
	return ""
}
