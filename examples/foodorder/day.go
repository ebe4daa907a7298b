package main

import (
	"embed"
	"fmt"
	"io"
	"os"
	"path"
	"time"
)

// Day is what happens in the city on one day.
type Day struct {
	// Prices are those of the foods on the menu, in rupees.
	Prices map[string]int
	// Packets are what the store begins with, by food.
	Packets map[string][]string
	// Trips are what the agents can make, by area. An area that is not here
	// is none of the city's.
	Trips map[string][]string
	// Orders are in the order in which they come in.
	Orders []Order
}

// Order is what a customer asks for: all of it, and an agent to bring it.
type Order struct {
	ID    string
	Time  string
	Area  string
	Foods []string
}

// Bounds of what a day may have.
const (
	maxPrice = 100_000 // rupees for one food
	maxTrips = 100     // of one agent
	maxFoods = 10      // in one order
)

// Files are what a day is read from. An empty path means the file of the day
// that comes with the program.
type Files struct{ Menu, Packets, Agents, Orders string }

//go:embed day/*.csv
var shipped embed.FS

// readDay reads and checks a day. The error names what is wrong, each by file
// and line, up to a bound.
func readDay(files Files) (*Day, error) {
	var p problems
	day := &Day{Prices: map[string]int{}, Packets: map[string][]string{}, Trips: map[string][]string{}}
	day.readMenu(openSheet(files.Menu, "menu.csv", &p, "food", "price"))
	day.readAgents(openSheet(files.Agents, "agents.csv", &p, "agent", "area", "trips"))
	if err := p.err(); err != nil {
		return nil, err // not all foods and areas are known, so the rest cannot be checked
	}
	day.readPackets(openSheet(files.Packets, "packets.csv", &p, "packet", "food"))
	day.readOrders(openSheet(files.Orders, "orders.csv", &p, "order", "time", "area", "foods"))
	return day, p.err()
}

func openSheet(file, instead string, p *problems, columns ...string) *sheet {
	var from io.ReadCloser
	var err error
	if file == "" {
		file = "built-in " + instead
		from, err = shipped.Open(path.Join("day", instead))
	} else {
		from, err = os.Open(file)
	}
	if err != nil {
		p.add(err) // it names the file
		return &sheet{}
	}
	defer func() { _ = from.Close() }() // it was only read
	return readSheet(file, from, p, columns...)
}

func (d *Day) readMenu(s *sheet) {
	s.needRows("foods")
	for _, r := range s.rows {
		d.Prices[r.unique("food")] = r.number("price", maxPrice)
	}
}

// readAgents makes each trip a resource: an agent who brings one order cannot
// bring another on the same trip. Everybody's first trip comes before anybody's
// second.
func (d *Day) readAgents(s *sheet) {
	s.needRows("agents")
	type agent struct {
		name, area string
		trips      int
	}
	agents := make([]agent, len(s.rows))
	for i, r := range s.rows {
		agents[i] = agent{name: r.unique("agent"), area: r.text("area"), trips: r.number("trips", maxTrips)}
		d.Trips[agents[i].area] = nil
	}
	for trip := 1; trip <= maxTrips; trip++ {
		for _, a := range agents {
			if trip <= a.trips {
				d.Trips[a.area] = append(d.Trips[a.area], fmt.Sprintf("%s #%d", a.name, trip))
			}
		}
	}
}

func (d *Day) readPackets(s *sheet) {
	for _, r := range s.rows {
		packet, food := r.unique("packet"), r.text("food")
		d.checkFood(r, food)
		d.Packets[food] = append(d.Packets[food], packet)
	}
}

func (d *Day) readOrders(s *sheet) {
	s.needRows("orders")
	for _, r := range s.rows {
		order := Order{ID: r.unique("order"), Time: r.text("time"), Area: r.text("area"), Foods: r.list("foods", "food")}
		d.checkOrder(r, order)
		d.Orders = append(d.Orders, order)
	}
}

func (d *Day) checkOrder(r *row, order Order) {
	if _, err := time.Parse("15:04", order.Time); err != nil {
		r.fail("the time %q is not one like 19:30", order.Time)
	}
	if _, known := d.Trips[order.Area]; !known {
		r.fail("no agent delivers in the area %q", order.Area)
	}
	if len(order.Foods) > maxFoods {
		r.fail("there are %d foods: at most %d are allowed in one order", len(order.Foods), maxFoods)
	}
	for _, food := range order.Foods {
		d.checkFood(r, food)
	}
}

func (d *Day) checkFood(r *row, food string) {
	if _, known := d.Prices[food]; !known {
		r.fail("the food %q is not on the menu", food)
	}
}

// price returns what an order costs.
func (d *Day) price(order Order) int {
	sum := 0
	for _, food := range order.Foods {
		sum += d.Prices[food]
	}
	return sum
}
