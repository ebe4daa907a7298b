package serve

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Health answers whether the database does: 200 if so, else 503, for a load
// balancer to send requests elsewhere.
func Health(db *pgxpool.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := db.Ping(ctx); err != nil {
			Problem(w, http.StatusServiceUnavailable, "the database does not answer")
			return
		}
		JSON(w, http.StatusOK, struct {
			OK bool `json:"ok"`
		}{true})
	})
}
