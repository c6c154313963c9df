package definition

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Word returns how an enum value is written in files: nat, lease-bound. A value
// that this program does not know yet is its number.
func Word(e protoreflect.Enum) string { return enumWord(e.Descriptor(), e.Number()) }

func enumWord(ed protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	vd := ed.Values().ByNumber(number)
	if vd == nil {
		return fmt.Sprint(number)
	}
	word := strings.TrimPrefix(string(vd.Name()), enumPrefix(ed))
	return strings.ReplaceAll(strings.ToLower(word), "_", "-")
}

// enumPrefix is what all names of an enum begin with: the lint of the contract
// wants the first to be PREFIX_UNSPECIFIED.
func enumPrefix(ed protoreflect.EnumDescriptor) string {
	prefix, ok := strings.CutSuffix(string(ed.Values().Get(0).Name()), "UNSPECIFIED")
	if !ok {
		return ""
	}
	return prefix
}

// enumWords are the words that may be written; absence stands for UNSPECIFIED.
func enumWords(ed protoreflect.EnumDescriptor) []string {
	var words []string
	for i := range ed.Values().Len() {
		if vd := ed.Values().Get(i); !isUnspecified(ed, vd) {
			words = append(words, enumWord(ed, vd.Number()))
		}
	}
	return words
}

func isUnspecified(ed protoreflect.EnumDescriptor, vd protoreflect.EnumValueDescriptor) bool {
	return enumPrefix(ed) != "" && vd.Number() == 0
}

func enumOf(text string, ed protoreflect.EnumDescriptor) (v protoreflect.Value, why, hint string) {
	for i := range ed.Values().Len() {
		vd := ed.Values().Get(i)
		if enumWord(ed, vd.Number()) == text && !isUnspecified(ed, vd) {
			return protoreflect.ValueOfEnum(vd.Number()), "", ""
		}
	}
	words := enumWords(ed)
	why = fmt.Sprintf("wants one of %s, not %q", strings.Join(words, ", "), clip(text))
	spoken := strings.TrimPrefix(strings.ToUpper(text), enumPrefix(ed))
	return v, why, didYouMean(nearest(spoken, words))
}
