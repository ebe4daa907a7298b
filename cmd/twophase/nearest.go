package main

import "flag"

// nearest returns the flag whose name is most like a mistyped one, and "" if
// none is.
func nearest(flags *flag.FlagSet, typed string) (name string) {
	least := 3 // mistakes
	flags.VisitAll(func(f *flag.Flag) {
		if d := mistakes(typed, f.Name); d < least && d < len(f.Name) {
			name, least = f.Name, d
		}
	})
	return name
}

// mistakes returns how many letters have to be changed, added or left out to
// make one word of another (Levenshtein's distance).
func mistakes(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			changed := diagonal
			if from[i] != to[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
