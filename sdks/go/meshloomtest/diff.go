package meshloomtest

import "strings"

// maxDiff bounds what a diff looks at: of more lines nobody reads it.
const maxDiff = 500

// diff shows how lines differ: "  " in both, "- " wanted, "+ " got. It keeps as many lines as it can.
func diff(want, got []string) string {
	want, got = want[:min(len(want), maxDiff)], got[:min(len(got), maxDiff)]
	kept := make([][]int, len(want)+1) // kept[i][j]: lines that want[i:] and got[j:] have in common
	for i := range kept {
		kept[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if matches(want[i], got[j]) {
				kept[i][j] = kept[i+1][j+1] + 1
			} else {
				kept[i][j] = max(kept[i+1][j], kept[i][j+1])
			}
		}
	}
	var text strings.Builder
	put := func(mark, line string) { text.WriteString(mark + " " + line + "\n") }
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && matches(want[i], got[j]):
			put(" ", got[j])
			i++
			j++
		case j == len(got) || i < len(want) && kept[i+1][j] >= kept[i][j+1]:
			put("-", want[i])
			i++
		default:
			put("+", got[j])
			j++
		}
	}
	return text.String()
}
