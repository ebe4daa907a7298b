// Microservices is the food order as three services: Order, Store and Delivery, each
// a process with a database of its own.
//
//	go run ./examples/microservices up      # starts everything, until Ctrl-C
//	go run ./examples/microservices load    # places orders, and audits them
//	go run ./examples/microservices chaos   # the same, while everything is killed
//	go run ./examples/microservices         # lists the commands
//
// The exit status is 1 if something went wrong or an invariant is broken, and 2 if a
// flag is wrong.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-bcc3c603/twophase/examples/microservices/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for an orderly end
	os.Exit(command.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
