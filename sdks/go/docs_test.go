package meshloom_test

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// bracketed is what looks like a link to an identifier and was read as plain text.
var bracketed = regexp.MustCompile(`\[\*?[A-Z]\w*(\.\w+)*\]|\[\*?\w+\.[A-Z][\w.]*\]`)

// TestLinksOfTheDocumentationLead holds that every [Name] of a comment is an identifier that there is.
func TestLinksOfTheDocumentationLead(t *testing.T) {
	for folder, path := range map[string]string{".": "meshloom", "meshloomtest": "meshloom/meshloomtest"} {
		files := token.NewFileSet()
		var parsed []*ast.File
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, folder+"/"+entry.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, file)
		}
		documented, err := doc.NewFromFiles(files, parsed, "github.com/"+path)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range textsOf(documented) {
			for _, lost := range unresolved(documented.Parser().Parse(text)) {
				t.Errorf("%s: the documentation of %s speaks of %s, which is no identifier", folder, name, lost)
			}
		}
	}
}

// textsOf are the comments of all that is exported, by name.
func textsOf(p *doc.Package) map[string]string {
	texts := map[string]string{"the package": p.Doc}
	funcs := func(of string, all []*doc.Func) {
		for _, f := range all {
			texts[of+f.Name] = f.Doc
		}
	}
	values := func(all []*doc.Value) {
		for _, v := range all {
			texts[strings.Join(v.Names, ", ")] = v.Doc
		}
	}
	funcs("", p.Funcs)
	values(p.Consts)
	values(p.Vars)
	for _, one := range p.Types {
		texts[one.Name] = one.Doc
		funcs("", one.Funcs)
		funcs(one.Name+".", one.Methods)
		values(one.Consts)
		values(one.Vars)
		ast.Inspect(one.Decl, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				for _, name := range field.Names {
					texts[one.Name+"."+name.Name] = field.Doc.Text() + field.Comment.Text()
				}
			}
			return true
		})
	}
	return texts
}

// unresolved lists what looks like a link in the plain text of a comment.
func unresolved(d *comment.Doc) []string {
	var lost []string
	text := func(of []comment.Text) {
		for _, one := range of {
			if plain, ok := one.(comment.Plain); ok {
				lost = append(lost, bracketed.FindAllString(string(plain), -1)...)
			}
		}
	}
	var blocks func(of []comment.Block)
	blocks = func(of []comment.Block) {
		for _, one := range of {
			switch block := one.(type) {
			case *comment.Paragraph:
				text(block.Text)
			case *comment.Heading:
				text(block.Text)
			case *comment.List:
				for _, item := range block.Items {
					blocks(item.Content)
				}
			}
		}
	}
	blocks(d.Content)
	return lost
}
