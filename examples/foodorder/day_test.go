package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}

// smallDay is a day that is right, by file.
var smallDay = map[string]string{
	"menu.csv":    "food,price\nmasala dosa,95\nfilter coffee,35\n",
	"packets.csv": "packet,food\ndosa-1,masala dosa\ndosa-2,masala dosa\ncoffee-1,filter coffee\n",
	"agents.csv":  "agent,area,trips\nRavi,Indiranagar,2\nAsha,Indiranagar,1\nUsha,Hebbal,0\n",
	"orders.csv":  "order,time,area,foods\norder-1,08:15,Indiranagar,masala dosa + filter coffee\n",
}

// readWith reads the small day with some files replaced. The folder is cut from
// the error.
func readWith(t *testing.T, replaced map[string]string) (*Day, error) {
	t.Helper()
	folder := t.TempDir() + string(filepath.Separator)
	for file, content := range smallDay {
		if instead, ok := replaced[file]; ok {
			content = instead
		}
		write(t, folder+file, content)
	}
	day, err := readDay(Files{
		Menu: folder + "menu.csv", Packets: folder + "packets.csv",
		Agents: folder + "agents.csv", Orders: folder + "orders.csv",
	})
	if err != nil {
		return nil, shortened{err, folder}
	}
	return day, nil
}

// shortened is an error without a folder's name.
type shortened struct {
	error
	folder string
}

func (s shortened) Error() string { return strings.ReplaceAll(s.error.Error(), s.folder, "") }

func TestReadDay(t *testing.T) {
	t.Parallel()
	want := &Day{
		Prices:  map[string]int{"masala dosa": 95, "filter coffee": 35},
		Packets: map[string][]string{"masala dosa": {"dosa-1", "dosa-2"}, "filter coffee": {"coffee-1"}},
		Trips:   map[string][]string{"Indiranagar": {"Ravi #1", "Asha #1", "Ravi #2"}, "Hebbal": nil},
		Orders: []Order{{
			ID: "order-1", Time: "08:15", Area: "Indiranagar", Foods: []string{"masala dosa", "filter coffee"},
		}},
	}
	for _, test := range []struct {
		name     string
		replaced map[string]string
	}{
		{"as it is", nil},
		{"columns in another order, and more of them", map[string]string{
			"menu.csv": "price,food,note\n95,masala dosa,crisp\n35,filter coffee,\n",
		}},
		{"from a spreadsheet", map[string]string{
			"menu.csv": "\ufefffood,price\r\n\"masala dosa\", 95\r\n\r\n filter coffee ,35\r\n",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			day, err := readWith(t, test.replaced)
			require.NoError(t, err)
			assert.Equal(t, want, day)
			assert.Equal(t, 130, day.price(day.Orders[0]))
		})
	}
}

func TestTheShippedDay(t *testing.T) {
	t.Parallel()
	day, err := readDay(Files{})
	require.NoError(t, err)
	assert.Len(t, day.Prices, 12)
	assert.Len(t, day.Trips, 12)
	assert.Len(t, day.Orders, 300)
}

func TestReadDayNamesFileAndLine(t *testing.T) {
	t.Parallel()
	const ordersHeader = "order,time,area,foods\n"
	for _, test := range []struct {
		name    string
		file    string
		content string
		err     string
	}{
		{"an empty file", "menu.csv", "",
			"menu.csv:1: it is empty: its first line must name the columns food,price"},
		{"a header and nothing else", "orders.csv", ordersHeader,
			"orders.csv:1: there are no orders below the header"},
		{"a missing column", "menu.csv", "food,cost\nmasala dosa,95\n",
			`menu.csv:1: there is no column "price": the first line must name the columns food,price`},
		{"a column twice", "menu.csv", "food,price,food\n",
			`menu.csv:1: there are two columns "food"`},
		{"a field too few", "packets.csv", "packet,food\ndosa-1,masala dosa\ndosa-2\n",
			"packets.csv:3: the number of fields is 1, and 2 in the first line"},
		{"a stray quote", "packets.csv", "packet,food\ndosa-1,masala \"dosa\n",
			`packets.csv:2: bare " in non-quoted-field`},
		{"a quote that does not end", "packets.csv", "packet,food\ndosa-1,\"masala dosa\ndosa-2,masala dosa\n",
			`packets.csv:2: extraneous or missing " in quoted-field`},
		{"an empty field", "packets.csv", "packet,food\n ,masala dosa\n",
			"packets.csv:2: the packet is empty"},
		{"a field that is too long", "packets.csv", "packet,food\n" + strings.Repeat("x", 101) + ",masala dosa\n",
			"packets.csv:2: the packet has 101 bytes: at most 100 are allowed"},
		{"a field of two lines", "packets.csv", "packet,food\n\"dosa\n1\",masala dosa\n",
			`packets.csv:2: the packet "dosa\n1" has control characters`},
		{"a field in another encoding", "packets.csv", "packet,food\ndosa-\xe9,masala dosa\n",
			`packets.csv:2: the packet "dosa-\xe9" is not UTF-8`},
		{"a negative number", "menu.csv", "food,price\nmasala dosa,-95\n",
			`menu.csv:2: price is "-95": it must be a whole number from 0 to 100000`},
		{"no number", "agents.csv", "agent,area,trips\nRavi,Indiranagar,some\n",
			`agents.csv:2: trips is "some": it must be a whole number from 0 to 100`},
		{"a number that is too large", "agents.csv", "agent,area,trips\nRavi,Indiranagar,99999999999999999999\n",
			`agents.csv:2: trips is "99999999999999999999": it must be a whole number from 0 to 100`},
		{"a food twice", "menu.csv", "food,price\nmasala dosa,95\nmasala dosa,90\n",
			`menu.csv:3: the food "masala dosa" is on line 2 already`},
		{"a packet twice", "packets.csv", "packet,food\ndosa-1,masala dosa\n\ndosa-1,filter coffee\n",
			`packets.csv:4: the packet "dosa-1" is on line 2 already`},
		{"an agent twice", "agents.csv", "agent,area,trips\nRavi,Indiranagar,1\nRavi,Hebbal,1\n",
			`agents.csv:3: the agent "Ravi" is on line 2 already`},
		{"an order twice", "orders.csv", ordersHeader + "order-1,08:15,Hebbal,masala dosa\norder-1,08:15,Hebbal,masala dosa\n",
			`orders.csv:3: the order "order-1" is on line 2 already`},
		{"a packet of an unknown food", "packets.csv", "packet,food\npizza-1,pizza\n",
			`packets.csv:2: the food "pizza" is not on the menu`},
		{"an order of an unknown food", "orders.csv", ordersHeader + "order-1,08:15,Hebbal,masala dosa + pizza\n",
			`orders.csv:2: the food "pizza" is not on the menu`},
		{"an order of half a food", "orders.csv", ordersHeader + "order-1,08:15,Hebbal,masala dosa +\n",
			"orders.csv:2: the food is empty"},
		{"an order of too many foods", "orders.csv", ordersHeader + "order-1,08:15,Hebbal,masala dosa" +
			strings.Repeat("+masala dosa", 10) + "\n",
			"orders.csv:2: there are 11 foods: at most 10 are allowed in one order"},
		{"an order from an unknown area", "orders.csv", ordersHeader + "order-1,08:15,Mysuru,masala dosa\n",
			`orders.csv:2: no agent delivers in the area "Mysuru"`},
		{"an order at no time", "orders.csv", ordersHeader + "order-1,25:15,Hebbal,masala dosa\n",
			`orders.csv:2: the time "25:15" is not one like 19:30`},
		{"several", "orders.csv", ordersHeader + "order-1,noon,Hebbal,masala dosa\norder-2,08:15,Hebbal,pizza\n",
			"orders.csv:2: the time \"noon\" is not one like 19:30\norders.csv:3: the food \"pizza\" is not on the menu"},
		{"a file that is too large", "menu.csv", "food,price\n" + strings.Repeat("\n", maxFileSize),
			"menu.csv:1: it is too large: at most 16 MiB are read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := readWith(t, map[string]string{test.file: test.content})
			require.EqualError(t, err, test.err)
		})
	}
}

func TestReadDayBoundsWhatItTells(t *testing.T) {
	t.Parallel()
	_, err := readWith(t, map[string]string{"packets.csv": "packet,food\n" + strings.Repeat("dosa-1,pizza\n", 50)})
	require.Error(t, err)
	told := strings.Split(err.Error(), "\n")
	assert.Len(t, told, maxProblems+1)
	assert.Equal(t, "and 40 more", told[maxProblems])
}

func TestReadDayOfFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	_, err := readDay(Files{Menu: "nowhere.csv", Agents: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "open nowhere.csv: no such file or directory\nread ")
	assert.ErrorContains(t, err, ": is a directory")
}

// Who brings a menu of their own and no packets learns which file does not fit.
func TestReadDayNamesTheFilesThatComeWithTheProgram(t *testing.T) {
	t.Parallel()
	menu := filepath.Join(t.TempDir(), "menu.csv")
	write(t, menu, smallDay["menu.csv"])
	_, err := readDay(Files{Menu: menu})
	assert.ErrorContains(t, err, `built-in packets.csv:32: the food "idli vada" is not on the menu`)
}

func FuzzReadSheet(f *testing.F) {
	for _, content := range smallDay {
		f.Add(content)
	}
	f.Add("order,time,area,foods\n\"a,b\n,,,\n")
	f.Fuzz(func(t *testing.T, content string) {
		var p problems
		day := &Day{}
		day.readOrders(readSheet("orders.csv", strings.NewReader(content), &p, "order", "time", "area", "foods"))
		require.Error(t, p.err(), "no food is on this menu")
		assert.ErrorContains(t, p.err(), "orders.csv:")
	})
}
