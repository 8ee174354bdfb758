# frozen_string_literal: true

require_relative "helper"
require "open3"
require "rbconfig"

# The gem as a new user has it: built, installed into an empty directory, and the README's examples run as pasted.
class PackageTest < TestCase
  include SharedServer

  ROOT = File.expand_path("..", __dir__)

  def run!(environment, *command, chdir: ROOT)
    output, status = Open3.capture2e(environment, *command, chdir: chdir)
    assert status.success?, "#{command.join(' ')}:\n#{output}"
    output
  end

  def test_it_installs_into_an_empty_place_and_the_readme_runs
    Dir.mktmpdir do |home|
      environment = { "GEM_HOME" => "#{home}/gems", "GEM_PATH" => "#{home}/gems", "HOME" => home, "RUBYLIB" => nil, "RUBYOPT" => nil }
      run!(environment, "gem", "build", "changeover.gemspec", "--output", "#{home}/changeover.gem")
      run!(environment, "gem", "install", "--local", "--no-document", "#{home}/changeover.gem")
      installed = "#{home}/gems/gems/changeover-#{Changeover::VERSION}"
      assert_equal Dir["#{ROOT}/lib/**/*.rb"].size, Dir["#{installed}/lib/**/*.rb"].size
      readme_examples(environment.merge("CHANGEOVER_URL" => server.url, "CHANGEOVER_TOKEN" => server.token), home)
    end
  end

  def readme_examples(environment, home)
    server.flag("new-player", { on: true, off: false }, "on")
    server.flag("invoice-store", Changeover::Migrator::STAGES.to_h { |stage| [stage, stage] }, "shadow")
    server.request(:Put, "/api/v1/gates/invoice-mailer", { single_instance: true })
    examples = File.read("#{ROOT}/README.md").scan(/^```ruby\n(.*?)^```/m).flatten
    assert_operator examples.size, :>=, 5
    examples.each_with_index do |example, index|
      path = "#{home}/example-#{index}.rb"
      File.write(path, example)
      output = run!(environment, RbConfig.ruby, path, chdir: home)
      example.scan(/puts .*# => (.*)$/).flatten.each { |expected| assert_includes output.lines.map(&:chomp), expected, example }
    end
  end
end
