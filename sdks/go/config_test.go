package meshloom_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

type settings struct {
	Label string        `json:"label" meshloom:"required"`
	Every time.Duration `json:"every" default:"5s"`
	Room  meshloom.Size `json:"room" default:"64MiB"`
	Count int           `json:"count"`
	Retry struct {
		Max  int     `json:"max" default:"3"`
		Rate float64 `json:"rate"`
	} `json:"retry"`
	Tags  []string         `json:"tags"`
	Rules map[string]*rule `json:"rules"`
	Peer  netip.Addr       `json:"peer"`
}

type rule struct {
	Above []float64 `json:"above"`
}

func (s settings) Validate() error {
	var wrong []error
	if s.Count < 0 {
		wrong = append(wrong, meshloom.InvalidConfig("count", "must not be negative"))
	}
	if s.Retry.Max < 0 {
		wrong = append(wrong, meshloom.InvalidConfig("retry.max", "must not be negative"))
	}
	return errors.Join(wrong...)
}

func TestConfigIsReadStrictly(t *testing.T) {
	var got settings
	s := serve(t, meshloom.NewWith("n", func(_ context.Context, cfg settings) (meshloom.MapHandler, error) {
		got = cfg
		return meshloom.Map(handleMap), nil
	}))
	for _, c := range []struct {
		json string
		want string // fields refused; empty: accepted
	}{
		{`{"label":"a"}`, ""},
		{`{"label":"a","every":"1m30s","room":"1.5kB","count":7,"retry":{"max":9,"rate":0.5},"tags":["x"]}`, ""},
		{``, "label: is required"},
		{`{"label":null}`, "label: is required"},
		{`{"label":5}`, "label: want string, got 5"},
		{`{"label":"a","count":"5"}`, `count: want integer, got "5"`},
		{`{"label":"a","count":1.5}`, `count: want integer, got 1.5`},
		{`{"label":"a","every":5}`, `every: want a duration such as "10s", got 5`},
		{`{"label":"a","every":"soon"}`, `every: want a duration such as "10s", got "soon"`},
		{`{"label":"a","room":"much"}`, `room: want a size such as 64MiB, got "much"`},
		{`{"label":"a","lable":1,"retry":{"maximum":1}}`, "retry.maximum: unknown key, known are: max, rate; lable: unknown key, known are: label, every, room, count, retry, tags, rules, peer"},
		{`{"label":"a","retry":3}`, "retry: want an object, got 3"},
		{`{"label":"a","tags":[1]}`, "tags[0]: want string, got 1"},
		{`{"label":"a","rules":{"hot":{"above":[1,"2"]},"cold":{"below":3}}}`, `rules.cold.below: unknown key, known are: above; rules.hot.above[1]: want number, got "2"`},
		{`{"label":"a","tags":"x","rules":[]}`, `tags: want array, got "x"; rules: want object, got []`},
		{`{"label":"a","peer":"10.0.0.1","rules":{"hot":{"above":[1]}}}`, ""},
		{`{"label":"a","peer":5}`, "peer: want netip.Addr, got 5"},
		{"{\"label\":\"\xff\"}", "the config is not UTF-8"},
		{`[]`, "want an object, got []"},
		{`{"label":"a","count":-1}`, "count: must not be negative"},
		{`{"label":"a","count":-1,"retry":{"max":-1}}`, "count: must not be negative; retry.max: must not be negative"},
		{`{"label":"a","every":"-1s"}`, `every: want a duration such as "10s", got "-1s"`},
	} {
		_, err := s.TryProcess(t, &meshloomv1.OpenProcess{ConfigJson: []byte(c.json)})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.json, err)
			}
			continue
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT", c.json, err)
			continue
		}
		said := ""
		for i, v := range status.Convert(err).Details()[0].(*errdetails.BadRequest).GetFieldViolations() {
			if i > 0 {
				said += "; "
			}
			if v.GetField() != "" {
				said += v.GetField() + ": "
			}
			said += v.GetDescription()
		}
		if said != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.json, said, c.want)
		}
	}
	if _, err := s.TryProcess(t, &meshloomv1.OpenProcess{ConfigJson: []byte(`{"label":"a","every":"1m30s","room":"1.5kB","count":7,"retry":{"max":9,"rate":0.5},"tags":["x"],"rules":{}}`)}); err != nil {
		t.Fatal(err)
	}
	want := settings{Label: "a", Every: 90 * time.Second, Room: 1500, Count: 7, Tags: []string{"x"}}
	want.Retry.Max, want.Retry.Rate = 9, 0.5
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("config %+v, want %+v", got, want)
	}
	if _, err := s.TryProcess(t, &meshloomv1.OpenProcess{ConfigJson: []byte(`{"label":"b"}`)}); err != nil || got.Every != 5*time.Second || got.Room != 64<<20 || got.Retry.Max != 3 {
		t.Errorf("defaults %+v, %v", got, err)
	}
}

func TestNodeWithoutConfigRefusesKeys(t *testing.T) {
	_, err := serve(t, meshloom.New("n", meshloom.Map(handleMap))).TryProcess(t, &meshloomv1.OpenProcess{ConfigJson: []byte(`{"a":1}`)})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

func TestSetUpRunsOncePerConfig(t *testing.T) {
	var ups, downs atomic.Int32
	s := serve(t, meshloom.NewWith("n", func(_ context.Context, _ settings) (meshloom.MapHandler, error) {
		ups.Add(1)
		return meshloom.OnStop(meshloom.Map(handleMap), func() error { downs.Add(1); return nil }), nil
	}))
	for _, config := range []string{`{"label":"a","count":1}`, `{ "count": 1, "label": "a" }`, `{"label":"b"}`} {
		s.Process(t, &meshloomv1.OpenProcess{ConfigJson: []byte(config)})
	}
	if ups.Load() != 2 {
		t.Errorf("the set-up ran %d times for two configs", ups.Load())
	}
	var bare atomic.Int32
	none := serve(t, meshloom.NewWith("n", func(context.Context, struct{}) (meshloom.MapHandler, error) {
		bare.Add(1)
		return meshloom.Map(handleMap), nil
	}))
	for _, config := range []string{``, `{}`} {
		none.Process(t, &meshloomv1.OpenProcess{ConfigJson: []byte(config)})
	}
	if bare.Load() != 1 {
		t.Errorf("the set-up ran %d times for no config", bare.Load())
	}
	if err := s.Stop(); err != nil || downs.Load() != 2 {
		t.Errorf("the tear-down ran %d times: %v", downs.Load(), err)
	}
}

func TestSetUpFailures(t *testing.T) {
	fail := errors.New("database is away")
	s := serve(t,
		meshloom.NewWith("outage", func(context.Context, struct{}) (meshloom.MapHandler, error) {
			if fail != nil {
				return meshloom.MapHandler{}, fail
			}
			return meshloom.Map(handleMap), nil
		}),
		meshloom.NewWith("refusal", func(context.Context, struct{}) (meshloom.MapHandler, error) {
			return meshloom.MapHandler{}, meshloom.InvalidConfig("env.TOKEN", "set TOKEN")
		}),
		meshloom.NewWith("panic", func(context.Context, struct{}) (meshloom.MapHandler, error) { panic("ouch") }),
		meshloom.NewWith("zero", func(context.Context, struct{}) (meshloom.MapHandler, error) { return meshloom.MapHandler{}, nil }),
	)
	codesOf := []codes.Code{}
	for _, handler := range []string{"outage", "refusal", "panic", "zero"} {
		_, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: handler})
		codesOf = append(codesOf, status.Code(err))
	}
	if want := []codes.Code{codes.Unavailable, codes.InvalidArgument, codes.Unavailable, codes.Unavailable}; !slices.Equal(codesOf, want) {
		t.Errorf("got %v, want %v", codesOf, want)
	}
	fail = nil
	if _, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "outage"}); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestMistakesInADeclarationPanic(t *testing.T) {
	for name, declare := range map[string]func(){
		"name": func() { meshloom.New("Bad Name", meshloom.Map(handleMap)) },
		"config": func() {
			meshloom.NewWith("n", func(context.Context, int) (meshloom.MapHandler, error) { return meshloom.Map(handleMap), nil })
		},
		"batch": func() { meshloom.New("n", meshloom.Map(handleMap), meshloom.MaxBatch(65_537, 0)) },
		"default": func() {
			meshloom.NewWith("n", func(context.Context, struct {
				Every time.Duration `default:"often"`
			}) (meshloom.MapHandler, error) {
				return meshloom.Map(handleMap), nil
			})
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			declare()
		}()
	}
}
