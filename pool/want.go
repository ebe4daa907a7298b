package pool

import (
	"fmt"

	"github.com/seed-bcc3c603/twophase"
)

// Want is what a request asks for: resources of one kind, all or none.
type Want struct {
	Kind string `json:"kind"`
	// Count is how many; 0 is 1.
	Count int `json:"count,omitempty"`
}

// MaxCount is how many resources one request may want.
const MaxCount = 1000

// check says what is wrong with a want, and "" if nothing is.
func (w Want) check() string {
	switch {
	case w.Kind == "":
		return "the kind is empty"
	case w.Count < 1 || w.Count > MaxCount:
		return fmt.Sprintf("a count is from 1 to %d", MaxCount)
	}
	return ""
}

// wanted returns what a request asks for, and a refusal if that makes no sense.
func (c *config) wanted(req twophase.Request) (Want, error) {
	want, err := c.want(req)
	if err != nil {
		return Want{}, err
	}
	if want.Count == 0 {
		want.Count = 1
	}
	if reason := want.check(); reason != "" {
		return Want{}, refused(req.Key, want, reason)
	}
	if req.Hold <= 0 {
		return Want{}, refused(req.Key, want, fmt.Sprintf("a hold of %v would be over at once", req.Hold))
	}
	return want, nil
}

// refused is the error of a request that cannot be met.
func refused(key twophase.Key, want Want, reason string) error {
	return fmt.Errorf("%w: %s wants %d of %q: %s", twophase.ErrRefused, key, want.Count, want.Kind, reason)
}
