// Package examples shows ten tasks, each in a file of its own, on readings such as {"sensor": "roof", "celsius": 31.5}. What is
// between the lines `snippet:start` and `snippet:end` stands in the README and beside the other languages' in the documentation.
package examples

// Reading is what a sensor measured.
type Reading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
}
