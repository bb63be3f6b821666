package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// Reading is the payload of every event of the typed JSON map.
type Reading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
	Time    string  `json:"time"`
	Site    string  `json:"site"`
	Note    string  `json:"note"`
}

// Scored is what becomes of it.
type Scored struct {
	Reading
	Hot bool `json:"hot"`
}

// score is what the typed JSON map does.
func score(reading Reading) Scored {
	return Scored{Reading: reading, Hot: reading.Celsius > 30}
}

// loop does it without Meshloom, and says after every so many events how many it has done.
func loop(payload []byte, events int) error {
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	for done := 0; ; {
		encoded := make([][]byte, 0, events)
		for range events {
			var reading Reading
			if err := json.Unmarshal(payload, &reading); err != nil {
				return err
			}
			made, err := json.Marshal(score(reading))
			if err != nil {
				return err
			}
			encoded = append(encoded, made)
		}
		done += len(encoded)
		if _, err := fmt.Fprintln(os.Stdout, done); err != nil {
			return err
		}
	}
}
