package twophasehttp

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var description []byte

// Description returns the OpenAPI description of what a handler serves, as
// YAML.
func Description() string { return string(description) }

// serveDescription answers a request for the description.
func (h *handler) serveDescription(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.writeError(w, r, notServed(w, "GET, HEAD"))
		return
	}
	write(w, http.StatusOK, contentYAML, description)
}

var contentYAML = []string{"application/yaml"}
