package examples

import (
	"testing"

	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

// snippet:start

func TestFahrenheit(t *testing.T) {
	r := meshloomtest.Run(t, fahrenheit,
		Reading{"roof", 31.5},
		map[string]any{"sensor": "cellar"},
		[]byte(`{"sensor": 7}`),
	)
	r.Expect(t,
		`0: {"fahrenheit":88.7,"sensor":"roof"}`,
		`1: rejected NO_TEMPERATURE: the reading of cellar has no celsius`,
		`2: rejected PAYLOAD_MISMATCH`,
	)
}

// snippet:end
