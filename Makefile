# The few commands that a contributor needs. "make" lists them.

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: test
test: ## vet and test every module under the race detector
	scripts/test

.PHONY: lint
lint: ## golangci-lint, staticcheck and govulncheck
	scripts/lint

.PHONY: cover
cover: ## how much of the root package its tests reach
	go test -coverprofile=coverage.out . && go tool cover -func=coverage.out | tail -n 1

.PHONY: bench
bench: ## the benchmarks of the protocol and the pool
	go test -run '^$$' -bench . -benchmem . ./pool

.PHONY: bench-journals
bench-journals: ## what the journals cost, beside the bare storage: five minutes
	go run ./benchmarks

.PHONY: nightly
nightly: ## an hour of simulation, every small world, every mutation, some hundred kills, half an hour of chaos, fuzzing
	TWOPHASE_SIM_FOR=1h go test -v -timeout 2h -run '^TestSimulation$$' ./simulation
	TWOPHASE_EXPLORE=everything go test -v -timeout 2h ./simulation/explore
	go run ./simulation/mutations -seeds 100
	TWOPHASE_CRASH_KILLS=300 go test -timeout 30m -run 'MayBeKilled|MayCrash' ./sqlite ./postgres
	go run ./examples/microservices chaos -for 30m
	$(MAKE) fuzz

.PHONY: fuzz
fuzz: ## every fuzz target for a minute
	scripts/fuzz

.PHONY: generate
generate: ## the code of the .proto
	cd twophasegrpc && go generate .

.PHONY: scenarios
scenarios: ## rewrite the traces in testdata/scenarios; review the difference
	go test -run TestScenarios . -rewrite

.PHONY: example
example: ## a day of food orders
	go run ./examples/foodorder
