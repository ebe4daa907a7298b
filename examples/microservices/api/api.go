// Package api has what the three services say to the outside: the shapes of their
// JSON, and the bounds of what they take.
package api

import (
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

// Order is what a customer wants: the body of POST /orders.
type Order struct {
	// ID is chosen by the customer's side. The same order may be sent again under
	// it, and gets the same answer.
	ID   string `json:"id"`
	Food string `json:"food"`
	Area string `json:"area"`
}

// MaxName is how many bytes an id, a food or an area may have.
const MaxName = 100

var orderID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Check says what is wrong with an order, and what would be right.
func (o Order) Check() error {
	if !orderID.MatchString(o.ID) {
		return fmt.Errorf("id %.120q: it must be 1 to %d of A-Z a-z 0-9 . _ -, with a letter or a digit first", o.ID, MaxName)
	}
	if err := CheckName("food", o.Food); err != nil {
		return err
	}
	return CheckName("area", o.Area)
}

// CheckName refuses what can be no food and no area.
func CheckName(what, name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return fmt.Errorf("%s %.120q: it must be 1 to %d bytes of UTF-8", what, name, MaxName)
	}
	for _, r := range name {
		if r < ' ' {
			return fmt.Errorf("%s %.120q: it must have no control characters", what, name)
		}
	}
	return nil
}

// Status is the answer in a word or two.
type Status string

// The statuses. InDoubt asks the customer to ask again; UnderWay is seen by those
// who only watch.
const (
	Placed    Status = "Order Placed"
	NotPlaced Status = "Order Not Placed"
	InDoubt   Status = "Order In Doubt"
	UnderWay  Status = "Under Way"
)

// Reason is one of the few kinds of why not.
type Reason string

// The reasons.
const (
	SoldOut   Reason = "sold-out"
	NoAgent   Reason = "no-agent"
	NoAnswer  Reason = "no-answer"
	OutOfTime Reason = "out-of-time"
	CalledOff Reason = "called-off"
	Trouble   Reason = "trouble"
)

// Answer is what the customer is told.
type Answer struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	Food   string `json:"food,omitempty"`
	Area   string `json:"area,omitempty"`
	// Packet and Agent are what a placed order was given.
	Packet string `json:"packet,omitempty"`
	Agent  string `json:"agent,omitempty"`
	// Reason and Detail say why an order is not placed, or in doubt.
	Reason Reason `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Ask is where to ask again while it is in doubt.
	Ask string `json:"ask,omitempty"`
}

// View is an order as it is watched: its answer so far, and how it came about.
type View struct {
	Answer
	// Number counts the orders of a process.
	Number    int64     `json:"number"`
	StartedAt time.Time `json:"started_at"`
	// Took is the time from the start to the answer, in milliseconds.
	Took      float64 `json:"took_ms,omitempty"`
	Finished  bool    `json:"finished"`
	Recovered bool    `json:"recovered,omitempty"`
	Timeline  []Mark  `json:"timeline"`
	// More is how many marks are left out.
	More int `json:"more,omitempty"`
}

// Mark is one attempt of a call, or one write to the journal, on an order's
// timeline. Times are in milliseconds; At counts from the order's start.
type Mark struct {
	To      string  `json:"to"`
	Call    string  `json:"call"`
	Attempt int     `json:"attempt"`
	At      float64 `json:"at_ms"`
	Took    float64 `json:"took_ms"`
	OK      bool    `json:"ok"`
	// Final says that an error is an answer, and not repeated.
	Final bool   `json:"final,omitempty"`
	Error string `json:"error,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Totals count the answers of a process.
type Totals struct {
	Placed    int64            `json:"placed"`
	NotPlaced int64            `json:"not_placed"`
	InDoubt   int64            `json:"in_doubt"`
	ByReason  map[Reason]int64 `json:"by_reason"`
}

// Orders are the latest orders.
type Orders struct {
	Orders []View `json:"orders"`
	Totals Totals `json:"totals"`
}

// Stock is what the services have.
type Stock struct {
	Services []Service `json:"services"`
}

// Service is what one service has.
type Service struct {
	Name string `json:"name"`
	// What names what it gives away.
	What string `json:"what"`
	// Up says that it has answered; else Error says why not, and Kinds are the
	// last that are known.
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"`
	Kinds []Kind `json:"kinds"`
}

// Kind is a food or an area, and what there is of it.
type Kind struct {
	Kind      string     `json:"kind"`
	Free      int        `json:"free"`
	Reserved  int        `json:"reserved"`
	Assigned  int        `json:"assigned"`
	Resources []Resource `json:"resources"`
	// More is how many resources are not listed.
	More int `json:"more,omitempty"`
}

// MaxListed is how many resources of a kind are listed.
const MaxListed = 60

// Resource is a packet or an agent.
type Resource struct {
	ID    string `json:"id"`
	State string `json:"state"`
	// Order is whose it is.
	Order string `json:"order,omitempty"`
	// TimeLeft is how long a reservation still lasts, in milliseconds.
	TimeLeft int64 `json:"time_left_ms,omitempty"`
}

// The states of a resource.
const (
	Free     = "free"
	Reserved = "reserved"
	Assigned = "assigned"
)

// Restock asks for more of a kind: the body of POST /restock at a service.
type Restock struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

// MaxRestock is how many resources one request may add.
const MaxRestock = 50_000

// Empty asks to take away what is free of a kind: the body of POST /empty at a
// service.
type Empty struct {
	Kind string `json:"kind"`
}

// Breaks are the ways to break things, and which are under way.
type Breaks struct {
	Breaks []Break `json:"breaks"`
}

// Break is one way to break things.
type Break struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Active says that it is under way, for TimeLeft more milliseconds.
	Active    bool  `json:"active"`
	TimeLeft  int64 `json:"time_left_ms,omitempty"`
	NeedsKind bool  `json:"needs_kind,omitempty"`
}

// Problem is an answer that is none about an order, after RFC 9457.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// Milliseconds returns a duration as the page is told of it.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
