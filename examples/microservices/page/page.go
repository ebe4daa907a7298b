// Package page is the web page of the food order: place an order, watch packets
// and agents change hands, see each call and its retries, break things.
//
// It is plain HTML, CSS and JavaScript modules, embedded, with nothing from
// elsewhere: it works without the network. It lives on what the order service
// serves beside it: POST /orders, GET /events and, in a demo, POST /break/.
package page

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed files
var embedded embed.FS

// Handler serves the page at "/" and its files beside it. What it does not have
// is 404.
func Handler() http.Handler {
	files, err := fs.Sub(embedded, "files")
	if err != nil {
		panic(err) // "files" is embedded above
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	})
}
