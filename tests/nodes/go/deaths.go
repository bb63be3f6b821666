package main

import "os"

// die ends the process in one of this language's ways.
func die(how string) {
	switch how {
	case "panic":
		// In a goroutine of the user's own nothing contains it.
		go panic("asked to panic")
		select {}
	case "oom":
		// Pages that nobody touches cost the machine nothing; the limit on the address space is met all the same.
		for kept := [][]byte{}; ; {
			kept = append(kept, make([]byte, 64<<20))
		}
	default:
		os.Exit(3)
	}
}
