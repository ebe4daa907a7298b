// Package twophasev1 is the contract of a participant over gRPC, generated from
// proto/twophase/v1/participant.proto, which documents it. Most who write Go
// want package twophasegrpc, which makes a twophase.Participant of it.
package twophasev1
