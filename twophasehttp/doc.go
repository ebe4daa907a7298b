// Package twophasehttp carries the calls on a [twophase.Participant] over HTTP.
//
// The service that owns the resources serves its participant, whatever it is:
//
//	handler, err := twophasehttp.NewHandler(store)
//	if err != nil {
//		return err
//	}
//	server := http.Server{Addr: ":8081", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
//
// and the coordinator calls it as if it were its own:
//
//	store, err := twophasehttp.NewParticipant("http://store:8081/")
//	if err != nil {
//		return err
//	}
//	coordinator, err := twophase.NewCoordinator(journal, twophase.WithParticipant("store", store))
//
// Either side may be written in another language: docs/http.md says what is on
// the wire, and the handler serves its OpenAPI description at openapi.yaml.
//
// # What is guaranteed
//
//   - A success is only what the service itself says is one: a 2xx whose JSON
//     has the state that was asked for, for the key that was asked about. A
//     proxy's page, a redirect, a cut reply never count.
//   - The participant's final errors arrive as what they are, for [errors.Is].
//     Everything else is transient, and asks for patience if the reply did
//     (Retry-After): see [twophase.RetryAfterError].
//   - No moment of anybody's clock is compared with another's: what travels is
//     durations. A hold is rounded up to a millisecond, the time left down.
//   - The payload's bytes arrive as they would in the same process, made
//     compact, so that its [twophase.Fingerprint] is the same.
//   - What a stranger sends is bounded in size and time, and refused with a
//     reason if it is not exactly what is expected.
//
// # What it does not do
//
// It repeats nothing: the coordinator does, by its [twophase.Policy]. It knows
// nobody: authentication is the matter of a middleware around the handler, and
// of the [http.RoundTripper] given to the client.
package twophasehttp
