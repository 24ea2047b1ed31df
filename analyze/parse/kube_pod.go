package parse

import (
	"fmt"
	"strings"

	"whichbackend/analyze/record"
)

type kubeContainer struct{ Name, RestartPolicy string }

type kubeContainerStatus struct {
	Name, ContainerID string
	Ready             bool
	Started           *bool
	State             struct {
		Waiting    *struct{ Reason string }
		Running    *struct{}
		Terminated *struct {
			Reason           string
			ExitCode, Signal int
		}
	}
}

type kubePod struct {
	Metadata kubeMeta
	Spec     struct {
		NodeName                   string
		HostNetwork                bool
		Containers, InitContainers []kubeContainer
	}
	Status struct {
		Phase, Reason, PodIP                     string
		PodIPs                                   []struct{ IP string }
		Conditions                               []struct{ Type, Status, Reason string }
		ContainerStatuses, InitContainerStatuses []kubeContainerStatus
	}
}

func (r *kubeReader) pod() {
	var o kubePod
	if !r.decode(&o, &o.Metadata) {
		return
	}
	w := record.Owner{
		Kind: record.OwnerPod, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Host: o.Spec.NodeName,
		HostNetwork: o.Spec.HostNetwork, Workload: kubeWorkload(o.Metadata.Labels), ContainerID: o.containerID(),
	}
	w.State, w.Ready = o.state()
	for _, c := range o.Spec.Containers {
		w.Containers = append(w.Containers, c.Name)
	}
	for _, c := range o.Spec.InitContainers {
		if c.RestartPolicy == "Always" {
			w.Containers = append(w.Containers, c.Name)
		}
	}
	w.Total = len(w.Containers)
	found := r.owner(w, o.Status.PodIP, r.pos("/status/podIP"))
	for i, ip := range o.Status.PodIPs {
		if ip.IP != o.Status.PodIP {
			found = r.owner(w, ip.IP, r.pos("/status/podIPs/%d/ip", i)) || found
		}
	}
	if !found {
		w.Pos = r.pos("/metadata/name")
		r.out.Owner(w)
	}
}

// containerID is the id of the first container, without containerd://.
func (o *kubePod) containerID() string {
	if len(o.Spec.Containers) == 0 {
		return ""
	}
	for _, s := range o.Status.ContainerStatuses {
		if s.Name == o.Spec.Containers[0].Name {
			return s.ContainerID[strings.LastIndexByte(s.ContainerID, '/')+1:]
		}
	}
	return ""
}

func (o *kubePod) condition(typ string) bool {
	for _, c := range o.Status.Conditions {
		if c.Type == typ {
			return c.Status == "True"
		}
	}
	return false
}

// state is the word that kubectl shows as STATUS, so that a pod in JSON and
// the same pod in a table have the same state, and the count of READY.
func (o *kubePod) state() (state string, ready int) {
	state = o.Status.Phase
	if o.Status.Reason != "" {
		state = o.Status.Reason
	}
	for _, c := range o.Status.Conditions {
		if c.Type == "PodScheduled" && c.Reason == "SchedulingGated" {
			state = c.Reason
		}
	}
	initState, ready := o.initState()
	if initState != "" {
		state = initState
	}
	if initState == "" || o.condition("Initialized") {
		main, n := o.mainState(state)
		state, ready = main, ready+n
	}
	switch {
	case o.Metadata.DeletionTimestamp == "":
	case o.Status.Reason == "NodeLost":
		state = "Unknown"
	case o.Status.Phase != "Succeeded" && o.Status.Phase != "Failed":
		state = "Terminating"
	}
	return state, ready
}

// initState is the state of a pod whose init containers have not all ended,
// "" when they have, and how many sidecars among them are ready.
func (o *kubePod) initState() (state string, ready int) {
	always := map[string]bool{}
	for _, c := range o.Spec.InitContainers {
		always[c.Name] = c.RestartPolicy == "Always"
	}
	for i, s := range o.Status.InitContainerStatuses {
		t, w := s.State.Terminated, s.State.Waiting
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case always[s.Name] && s.Started != nil && *s.Started:
			if s.Ready {
				ready++
			}
			continue
		case t != nil:
			return "Init:" + kubeExit(t.Reason, t.ExitCode, t.Signal), ready
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			return "Init:" + w.Reason, ready
		}
		return fmt.Sprintf("Init:%d/%d", i, len(o.Spec.InitContainers)), ready
	}
	return "", ready
}

// mainState lets the containers, the first above all, say more than the phase.
func (o *kubePod) mainState(state string) (string, int) {
	ready := 0
	for i := len(o.Status.ContainerStatuses) - 1; i >= 0; i-- {
		s := o.Status.ContainerStatuses[i]
		switch t, w := s.State.Terminated, s.State.Waiting; {
		case w != nil && w.Reason != "":
			state = w.Reason
		case t != nil:
			state = kubeExit(t.Reason, t.ExitCode, t.Signal)
		case s.Ready && s.State.Running != nil:
			ready++
		}
	}
	if state == "Completed" && ready > 0 {
		state = "NotReady"
		if o.condition("Ready") {
			state = "Running"
		}
	}
	return state, ready
}

// kubeExit is why a container ended.
func kubeExit(reason string, code, signal int) string {
	switch {
	case reason != "":
		return reason
	case signal != 0:
		return fmt.Sprintf("Signal:%d", signal)
	}
	return fmt.Sprintf("ExitCode:%d", code)
}
