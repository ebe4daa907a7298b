package audit

import (
	"bytes"
	"fmt"
	"io"
)

// shownBreaches is how many are written out for each invariant.
const shownBreaches = 5

// Report writes which invariants hold, and how the others are broken.
func Report(w io.Writer, b Books, breaches []Breach) error {
	found := map[string][]string{}
	for _, breach := range breaches {
		found[breach.Invariant] = append(found[breach.Invariant], breach.Shows)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "\nAudit of the answers against the books: %d orders in the journal, %d packets, %d agents\n",
		len(b.Journal), len(b.Packets), len(b.Agents))
	for _, invariant := range Invariants {
		verdict := "ok    "
		shows := found[invariant.Name]
		if len(shows) > 0 {
			verdict = "BROKEN"
		}
		fmt.Fprintf(&out, "  %s  %-5s  %s\n", verdict, invariant.Name, invariant.Means)
		for i, show := range shows {
			if i == shownBreaches {
				fmt.Fprintf(&out, "                 and %d more\n", len(shows)-i)
				break
			}
			fmt.Fprintf(&out, "                 %s\n", show)
		}
	}
	_, err := out.WriteTo(w)
	return err
}
