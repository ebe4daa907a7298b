module github.com/seed-bcc3c603/twophase/cmd/twophase

go 1.26.0

require (
	github.com/seed-bcc3c603/twophase v0.0.0
	github.com/seed-bcc3c603/twophase/twophasegrpc v0.0.0
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.60.0
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261110000943-09e21b237f2c
	google.golang.org/grpc v1.85.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/seed-bcc3c603/twophase => ../../
	github.com/seed-bcc3c603/twophase/twophasegrpc => ../../twophasegrpc
)
