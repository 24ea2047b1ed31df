package check

var backendTerminating = Rule{
	ID: "backend-terminating", Severity: Warning,
	Finds: "connections to a backend that is about to end",
	Needs: "a table's entries behind a service, and a list of the service's backends with their states",
	Why:   "The backend ends when its grace period does, and what is still connected then is cut off.",
	Do:    "Make the server close its connections when it is told to end (SIGTERM), or give it more time: terminationGracePeriodSeconds, docker service update --stop-grace-period.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/100698", "https://github.com/cilium/cilium/issues/24128"},
	judge: findBackendsTerminating,
}

func findBackendsTerminating(k *Case) (found []Finding, judged bool) {
	return k.chosenInState(terminating, "is terminating")
}
