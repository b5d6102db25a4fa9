module github.com/juju/webbrowser

go 1.26.0
