package page_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/examples/microservices/page"
)

func TestPageFitsEveryScreen(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot())
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"small-phone", 320, 640}, {"phone", 390, 844}, {"tablet", 820, 1180}, {"wide", 1600, 1000}} {
		tab.do(t, chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(s.URL),
			chromedp.WaitVisible(".order .lane .bars i"))
		overflow := `document.documentElement.scrollWidth - document.documentElement.clientWidth`
		assert.LessOrEqual(t, get(t, tab, chromedp.Evaluate[int](overflow)), 0, "%s scrolls sideways", screen.name)
		tab.picture(t, screen.name)
	}
}

func TestOrderPlacedSaysWhichPacketAndAgent(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot(), answer{http.StatusOK, object{
		"id": "x", "status": "Order Placed", "food": "idli vada", "area": "Koramangala", "packet": "idli-vada-7", "agent": "ravi-2",
	}})
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitEnabled("#place"),
		chromedp.Click(`input[value="idli vada"]`), chromedp.Click(`input[value="Koramangala"]`), chromedp.Click("#place"),
		chromedp.WaitVisible(`#answer[data-state="placed"]`))
	said := get(t, tab, chromedp.Text("#answer"))
	assert.Contains(t, said, "Order Placed")
	assert.Contains(t, said, "idli-vada-7 is brought by ravi-2")
	require.Len(t, s.requests(), 1)
	assert.Equal(t, "idli vada", s.requests()[0]["food"])
	assert.Equal(t, "Koramangala", s.requests()[0]["area"])
	assert.Regexp(t, `^web-[0-9a-f]{12}$`, s.requests()[0]["id"])
}

func TestOrderNotPlacedSaysWhy(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot(), answer{http.StatusConflict, object{
		"status": "Order Not Placed", "reason": "sold-out", "detail": "no masala dosa left",
	}})
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitEnabled("#place"), chromedp.Click("#place"),
		chromedp.WaitVisible(`#answer[data-state="not-placed"]`))
	assert.Contains(t, get(t, tab, chromedp.Text("#answer")), "no masala dosa left")
}

func TestOrderInDoubtIsAskedAgainWithTheSameID(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot(),
		answer{http.StatusAccepted, object{"status": "Order In Doubt", "detail": "no answer yet"}},
		answer{http.StatusServiceUnavailable, object{"status": "Order In Doubt", "detail": "the journal is away"}},
		answer{http.StatusOK, object{"status": "Order Placed", "packet": "p", "agent": "a"}})
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitEnabled("#place"), chromedp.Click("#place"),
		chromedp.WaitVisible(`#answer[data-state="placed"]`))
	asked := s.requests()
	require.Len(t, asked, 3)
	assert.Equal(t, asked[0], asked[1])
	assert.Equal(t, asked[0], asked[2])
}

func TestEventsChangeWhatIsShown(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot())
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitVisible(`[data-key="order-3"][data-status="Under Way"]`))
	finished := retriedOrder()
	finished["status"], finished["packet"], finished["agent"], finished["took_ms"] = "Order Placed", "dosa-9", "asha-1", 1400
	s.events <- event("orders", object{"orders": []object{finished}, "totals": object{"placed": 13, "not_placed": 3}})
	emptied := store()
	emptied["kinds"] = []object{kind("masala dosa", 0, 1, 9)}
	s.events <- event("stock", object{"services": []object{emptied, delivery()}})
	tab.do(t, chromedp.WaitVisible(`[data-key="order-3"][data-status="Order Placed"]`),
		chromedp.WaitVisible(`.kind.none[data-key="masala dosa"]`))
	text := func(selector string) string { return get(t, tab, chromedp.Text(selector)) }
	assert.Equal(t, "dosa-9, brought by asha-1", text(`[data-key="order-3"] .result`))
	assert.Equal(t, "0 free · 1 reserved · 9 assigned", text(`[data-key="masala dosa"] .counts`))
	assert.Regexp(t, `^1\d s$`, text(`[data-key="masala dosa"] .mark[data-state="reserved"]`), "a reservation shows its time left")
}

func TestButtonBreaksSomething(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	s := newService(t, snapshot())
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitVisible(`[data-key="stop-store"]`), chromedp.Click(`[data-key="stop-store"]`),
		chromedp.WaitVisible(`[data-key="stop-store"][aria-pressed="true"]`))
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, []string{"stop-store"}, s.broken)
}

func TestNoButtonsOutsideOfADemo(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	quiet := snapshot()
	quiet["demo"] = false
	s := newService(t, quiet)
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitVisible(".order"))
	assert.True(t, get(t, tab, chromedp.Evaluate[bool](`document.getElementById("breaks").hidden`)))
}

func TestWhatServicesSendIsTextAndNoMarkup(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	day := snapshot()
	order := soldOutOrder()
	order["detail"] = `<img src="nothing" id="injected">`
	day["orders"] = []object{order}
	s := newService(t, day)
	tab.do(t, chromedp.Navigate(s.URL), chromedp.WaitVisible(".order"))
	assert.Contains(t, get(t, tab, chromedp.Text(".order .result")), "<img")
	assert.True(t, get(t, tab, chromedp.Evaluate[bool](`document.getElementById("injected") === null`)))
}

func TestHandlerServesTheFilesAndNothingElse(t *testing.T) {
	t.Parallel()
	for path, status := range map[string]int{
		"/": http.StatusOK, "/page.css": http.StatusOK, "/page.js": http.StatusOK,
		"/nothing": http.StatusNotFound, "/files/": http.StatusNotFound, "/page.go": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		page.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		assert.Equal(t, status, w.Code, path)
		assert.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'self'")
	}
}

// tab is a page in a headless browser that fails the test on any complaint.
type tab struct {
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

func newTab(t *testing.T) *tab {
	t.Helper()
	browser, err := browserPath()
	if err != nil {
		t.Skip("the page is tested in Chromium, which is not installed: run scripts/install-needs")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-prefers-reduced-motion", true))
	allocator, cancelBrowser := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, cancelTab := chromedp.NewContext(allocator)
	tab := &tab{ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, tab.listen))
	t.Cleanup(func() {
		cancelTab()
		cancelBrowser()
		tab.mu.Lock()
		defer tab.mu.Unlock()
		assert.Empty(t, tab.complaints, "the browser complains")
	})
	return tab
}

func browserPath() (path string, err error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// listen keeps errors in scripts, and what the browser logs, such as what the
// content security policy keeps out.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.complaints = append(b.complaints, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
		}
	}
}

func (b *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx, steps...))
}

func get[T any](t *testing.T, b *tab, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	require.NoError(t, err)
	return value
}

// picture stores what is seen in the folder that PAGE_PICTURES names, for
// people to look at.
func (b *tab) picture(t *testing.T, name string) {
	t.Helper()
	folder := os.Getenv("PAGE_PICTURES")
	if folder == "" {
		return
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, name+".png"), get(t, b, chromedp.FullScreenshot(100)), 0o600))
}
