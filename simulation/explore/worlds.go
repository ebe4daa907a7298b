package explore

// Small returns the worlds of every test run: a few faults each, a few seconds
// together.
func Small() []World {
	return []World{
		{Crashes: 1, Repeats: 1, Expiries: 1},
		{Rivals: 1, GiveUps: 1, Deadlines: 1},
		{Second: Recovers, Crashes: 1, Repeats: 1},
		{Second: Recovers, Crashes: 1, Expiries: 1},
		{Second: Recovers, FirstRecovers: true, Crashes: 1},
		{Second: Recovers, Deadlines: 1},
		{Second: Recovers, GiveUps: 1},
		{Second: RunsTheSame, Crashes: 1},
		{Second: RunsTheSame, FirstRecovers: true, Crashes: 1},
		{Second: RunsTheSame, Repeats: 1},
		{Second: RunsAnother, Crashes: 1},
		{Function: true, Second: Recovers, Crashes: 1, Rivals: 1},
		{Function: true, Second: Recovers, Expiries: 1},
	}
}

// Large returns those of a nightly run: all faults at once, a quarter of an hour
// together.
func Large() []World {
	return []World{
		{Second: Recovers, Crashes: 1, Repeats: 1, Expiries: 1, Rivals: 1},
		{Second: Recovers, FirstRecovers: true, Crashes: 1, Repeats: 1, Expiries: 1},
		{Second: Recovers, Crashes: 2, Repeats: 1, Expiries: 1},
		{Second: Recovers, Crashes: 1, Repeats: 1, Expiries: 1},
		{Second: Recovers, Crashes: 2, Expiries: 1},
		{Second: Recovers, Crashes: 1, Expiries: 1, Rivals: 1},
		{Second: Recovers, Crashes: 1, Expiries: 1, Deadlines: 1},
		{Second: Recovers, FirstRecovers: true, Crashes: 1, Rivals: 1},
		{Second: Recovers, FirstRecovers: true, Empty: true, Crashes: 1, Repeats: 1},
		{Second: Recovers, FirstRecovers: true, Empty: true, Repeats: 1},
		{Second: Recovers, FirstRecovers: true, Repeats: 1, Rivals: 1},
		{Second: Recovers, FirstRecovers: true, Expiries: 1},
		{Second: Recovers, Crashes: 1, Deadlines: 1},
		{Second: Recovers, Crashes: 1, Repeats: 1, Rivals: 1},
		{Second: RunsTheSame, Crashes: 1, Rivals: 1},
		{Second: RunsTheSame, Expiries: 1},
		{Second: RunsTheSame, Crashes: 1, Repeats: 1, Expiries: 1},
		{Second: RunsTheSame, Crashes: 1, Expiries: 1, Rivals: 1},
		{Second: RunsTheSame, Crashes: 2, Repeats: 1},
		{Second: RunsTheSame, GiveUps: 2, Rivals: 1},
		{Second: RunsAnother, Crashes: 1, Repeats: 1},
		{Function: true, Second: Recovers, Crashes: 1, Expiries: 1, Rivals: 1},
		{Function: true, Second: Recovers, Crashes: 2, Repeats: 1, Rivals: 1},
	}
}
