// Prints how the types of Kubernetes are laid out in protobuf: one line per struct.
package main

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	aggregator "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

var lines = map[string]string{}

// Types that the reader knows by name.
var known = map[string]bool{"Time": true, "MicroTime": true, "Quantity": true, "IntOrString": true, "RawExtension": true,
	"FieldsV1": true, "JSON": true, "Duration": true}

func name(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	host := strings.Split(parts[0], ".")
	for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
		host[i], host[j] = host[j], host[i]
	}
	return strings.Join(append(host, parts[1:]...), ".") + "." + t.Name()
}

func isMessage(t reflect.Type) bool {
	_, ok := reflect.PointerTo(t).MethodByName("MarshalToSizedBuffer")
	return ok
}

func shape(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return "*" + shape(t.Elem())
	}
	if t.Kind() != reflect.Struct && isMessage(t) {
		return "E"
	}
	switch t.Kind() {
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint8, reflect.Uint32:
		return "i"
	case reflect.Float64:
		return "f"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "y"
		}
		return "[" + shape(t.Elem())
	case reflect.Map:
		return "{" + shape(t.Elem())
	case reflect.Struct:
		if !known[t.Name()] {
			walk(t)
		}
		return name(t)
	}
	panic(t.String())
}

func walk(t reflect.Type) {
	n := name(t)
	if _, ok := lines[n]; ok {
		return
	}
	lines[n] = ""
	var fields []string
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		proto := f.Tag.Get("protobuf")
		if proto == "" || proto == "-" {
			continue
		}
		json := strings.Split(f.Tag.Get("json"), ",")
		number := strings.Split(proto, ",")[1]
		optional := ""
		for _, o := range json[1:] {
			if o == "omitempty" || o == "omitzero" {
				optional = "?"
			}
		}
		fields = append(fields, fmt.Sprintf("%s=%s%s%s", json[0], number, optional, ":"+shape(f.Type)))
	}
	lines[n] = n + " " + strings.Join(fields, " ")
}

func main() {
	s := runtime.NewScheme()
	_ = apiext.AddToScheme(s)
	_ = aggregator.AddToScheme(s)
	for _, from := range []*runtime.Scheme{scheme.Scheme, s} {
		for gvk, t := range from.AllKnownTypes() {
			if gvk.Version == runtime.APIVersionInternal || strings.Contains(gvk.Version, "alpha") || strings.Contains(gvk.Version, "beta") || strings.HasSuffix(t.Name(), "List") {
				continue
			}
			if t.Name() == "Status" || t.Name() == "WatchEvent" || t.Name() == "InternalEvent" || strings.HasPrefix(t.Name(), "API") && strings.Contains(t.PkgPath(), "meta/v1") {
				continue
			}
			walk(t)
		}
	}
	walk(reflect.TypeOf(metav1.DeleteOptions{}))
	var names []string
	for n := range lines {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Println(lines[n])
	}
}
